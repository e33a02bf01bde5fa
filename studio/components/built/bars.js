var g=`
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
`;function a(o,r={},...d){let s=document.createElement(o);for(let[t,e]of Object.entries(r))t==="dataset"?Object.assign(s.dataset,e):t.startsWith("aria-")||t==="role"||t==="for"?s.setAttribute(t,e):s[t]=e;return s.append(...d),s}function b(o,r){o.textContent!==r&&(o.textContent=r)}function f(o,r,d,s){let{parentElement:t}=r,e=o.get(t);return e||(e=d(r),o.set(t,e)),e.component=r,s(e),()=>{e.destroy(),o.delete(t)}}var x=`
.bars { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: 6px; height: 96px;
  align-items: end; border-bottom: 1px solid var(--line); }
.pair { display: flex; align-items: end; justify-content: center; gap: 2px; height: 100%; }
.pair i { display: block; width: min(45%, 22px); border-radius: 3px 3px 0 0; min-height: 0; }
.pair i.old { background: color-mix(in srgb, var(--st-text-color) 28%, var(--st-background-color)); }
.pair i.new { background: var(--st-primary-color); }
.labels { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: 6px; font-size: 11.5px;
  text-align: center; padding-top: 3px; }
.labels span { overflow: hidden; text-overflow: clip; white-space: nowrap; }
.head { display: flex; gap: 14px; font-size: 12.5px; padding-bottom: 8px; align-items: center; }
.head b { font-weight: 600; margin-right: auto; }
.key::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 6px;
  background: var(--key); }
`,m=new WeakMap;function S(o){return f(m,o,v,w)}function v({parentElement:o}){let r=a("div",{className:"root"});return o.append(a("style",{textContent:g+x}),r),{root:r,destroy(){r.remove()}}}function w({root:o,component:{data:r}}){let d=r.old!==null,s=Math.max(1,...r.old??[],...r.new),t=(n,i)=>{let c=a("i",{className:n});return c.style.height=`${100*i/s}%`,c},e=n=>{let i=d?`${r.old[n]} before, `:"",c=a("div",{className:"pair",title:`${r.ranges[n]}: ${i}${r.new[n]} now`});return d&&c.append(t("old",r.old[n])),c.append(t("new",r.new[n])),c},l=(n,i)=>{let c=a("span",{className:"key faint"},n);return c.style.setProperty("--key",i),c},p=a("div",{className:"head"},a("b",{},r.title));d&&p.append(l("before","color-mix(in srgb, var(--st-text-color) 28%, var(--st-background-color))"),l("now","var(--st-primary-color)"));let u=a("div",{className:"bars",role:"img"},...r.new.map((n,i)=>e(i)));u.setAttribute("aria-label",r.title);let h=r.labels.map(n=>{let i=a("span",{className:"faint"});return b(i,n),i});o.replaceChildren(p,u,a("div",{className:"labels"},...h))}export{S as default};
