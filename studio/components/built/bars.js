var b=`
:host, .root { font-family: var(--st-font); color: var(--st-text-color); }
.root {
  --faint: color-mix(in srgb, var(--st-text-color) 62%, var(--st-background-color));
  --line: var(--st-border-color);
  --panel: var(--st-background-color);
  --soft: var(--st-secondary-background-color);
  --hover: color-mix(in srgb, var(--st-text-color) 5%, transparent);
  font-size: 14px; line-height: 1.45; font-variant-numeric: tabular-nums;
}
.root *, .root *::before { box-sizing: border-box; }
.faint { color: var(--faint); }
.num { text-align: right; white-space: nowrap; }
button {
  font: inherit; color: inherit; cursor: pointer; border-radius: var(--st-button-radius);
  border: 1px solid var(--line); background: var(--panel); padding: 4px 12px; line-height: 1.4;
  white-space: nowrap; transition: border-color .12s, color .12s, background .12s;
}
button:hover:not(:disabled) { border-color: var(--st-primary-color); color: var(--st-primary-color); }
button:focus-visible, a:focus-visible, input:focus-visible {
  outline: 2px solid var(--st-primary-color); outline-offset: 1px;
}
button:disabled { opacity: .45; cursor: default; }
button.danger:hover:not(:disabled) { border-color: var(--st-red-color); color: var(--st-red-text-color); }
.badge {
  display: inline-flex; align-items: center; gap: 6px; padding: 1px 9px 1px 8px; border-radius: 999px;
  font-size: 12.5px; font-weight: 600; white-space: nowrap;
  color: var(--st-gray-text-color); background: var(--st-gray-background-color);
}
.badge::before { content: ""; width: 7px; height: 7px; border-radius: 50%; background: currentColor; }
.badge[data-tone=live] { color: var(--st-blue-text-color); background: var(--st-blue-background-color); }
.badge[data-tone=live]::before { animation: pulse 1.6s ease-in-out infinite; }
.badge[data-tone=good] { color: var(--st-green-text-color); background: var(--st-green-background-color); }
.badge[data-tone=warn] { color: var(--st-orange-text-color); background: var(--st-orange-background-color); }
.badge[data-tone=bad] { color: var(--st-red-text-color); background: var(--st-red-background-color); }
@keyframes pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .badge::before { animation: none !important; } }
.bar { height: 6px; border-radius: 3px; background: var(--st-border-color); overflow: hidden; }
.bar > i { display: block; height: 100%; border-radius: 3px; background: var(--st-primary-color);
  transition: width .4s ease-out; }
.alert { border: 1px solid var(--st-red-color); background: var(--st-red-background-color);
  color: var(--st-red-text-color); border-radius: var(--st-base-radius); padding: 8px 12px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.alert[data-tone=warn] { border-color: var(--st-orange-color); color: var(--st-orange-text-color);
  background: var(--st-orange-background-color); }
`;function i(t,r={},...l){let s=document.createElement(t);for(let[o,n]of Object.entries(r))o==="dataset"?Object.assign(s.dataset,n):o.startsWith("aria-")||o==="role"||o==="for"?s.setAttribute(o,n):s[o]=n;return s.append(...l),s}function g(t,r){t.textContent!==r&&(t.textContent=r)}function f(t,r,l,s){let{parentElement:o}=r,n=t.get(o);return n||(n=l(r),t.set(o,n)),n.component=r,s(n),()=>{n.destroy(),t.delete(o)}}var m=`
.bars { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); height: 96px;
  align-items: end; border-bottom: 1px solid var(--line); }
.pair { display: flex; align-items: end; justify-content: center; gap: 2px; height: 100%; }
.pair i { display: block; width: min(45%, 22px); border-radius: 3px 3px 0 0; min-height: 0; }
.pair i.old { background: color-mix(in srgb, var(--st-text-color) 28%, var(--st-background-color)); }
.pair i.new { background: var(--st-primary-color); }
.labels { position: relative; height: 20px; font-size: 11px; padding-top: 3px; }
.labels span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.bars, .labels { margin: 0 16px; }
.head { display: flex; gap: 14px; font-size: 12.5px; padding-bottom: 8px; align-items: center; }
.head b { font-weight: 600; margin-right: auto; }
.key::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 6px;
  background: var(--key); }
`,v=new WeakMap;function $(t){return f(v,t,w,y)}function w({parentElement:t}){let r=i("div",{className:"root"});return t.append(i("style",{textContent:b+m}),r),{root:r,destroy(){r.remove()}}}function y({root:t,component:{data:r}}){let l=r.old!==null,s=Math.max(1,...r.old??[],...r.new),o=(a,c)=>{let e=i("i",{className:a});return e.style.height=`${100*c/s}%`,e},n=a=>{let c=l?`${r.old[a]} before, `:"",e=i("div",{className:"pair",title:`${r.ranges[a]}: ${c}${r.new[a]} now`});return l&&e.append(o("old",r.old[a])),e.append(o("new",r.new[a])),e},d=(a,c)=>{let e=i("span",{className:"key faint"},a);return e.style.setProperty("--key",c),e},u=i("div",{className:"head"},i("b",{},r.title));l&&u.append(d("before","color-mix(in srgb, var(--st-text-color) 28%, var(--st-background-color))"),d("now","var(--st-primary-color)"));let p=i("div",{className:"bars",role:"img"},...r.new.map((a,c)=>n(c)));p.setAttribute("aria-label",r.title);let h=r.labels.length>r.new.length,x=r.labels.map((a,c)=>{let e=i("span",{className:"faint"});return g(e,a),e.style.left=`${100*(c+(h?0:.5))/r.new.length}%`,e});t.replaceChildren(u,p,i("div",{className:"labels"},...x))}export{$ as default};
