var x=`
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
`;function i(t,r={},...o){let e=document.createElement(t);for(let[n,a]of Object.entries(r))n==="dataset"?Object.assign(e.dataset,a):n.startsWith("aria-")||n==="role"||n==="for"?e.setAttribute(n,a):e[n]=a;return e.append(...o),e}function f(t,r="number"){if(t==null||!Number.isFinite(t))return"—";if(r==="percent")return`${(100*t).toFixed(1)} %`;if(r==="count")return Math.abs(t)<100?t.toFixed(1):p(t);if(r==="rate")return p(t);let o=Math.abs(t);return o>=1e3?p(t):o>=10?t.toFixed(1):o>=.01||t===0?t.toFixed(3):String(Number(t.toPrecision(2)))}function p(t){return Math.round(t).toLocaleString("en-US")}function m(t,r,o,e){let{parentElement:n}=r,a=t.get(n);return a||(a=o(r),t.set(n,a)),a.component=r,e(a),()=>{a.destroy(),t.delete(n)}}var y=/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;function h(t){return t.replace(y,r=>{let o=r.codePointAt(0);return o<32?String.fromCodePoint(9216+o):`⟨${o.toString(16).toUpperCase().padStart(4,"0")}⟩`})}var k=`
.versus { display: grid; grid-template-columns: 26px minmax(0, 1fr) max-content max-content minmax(180px, 300px) max-content max-content; gap: 0 14px;
  font-size: 13px; align-items: center; border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 4px 14px 6px; }
.versus > * { padding: 5px 0; min-height: 30px; display: flex; align-items: center; }
.versus .num { justify-content: flex-end; }
.versus .head { font-size: 12px; color: var(--faint); }
.versus .said { overflow: hidden; }
.versus .said span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-family: var(--st-code-font); font-size: 12px; unicode-bidi: isolate; direction: ltr; }
.bars { position: relative; height: 20px; min-height: 20px !important; padding: 0 !important; }
.bars::before { content: ""; position: absolute; left: 50%; top: 0; bottom: 0; width: 1px; background: var(--line); }
.bars i { position: absolute; height: 8px; border-radius: 2px; }
.bars .was { top: 1px; background: var(--st-gray-color); opacity: .55; }
.bars .now { top: 11px; }
.bars .spread { top: 14px; height: 2px; background: var(--st-text-color); opacity: .45; }
.legend { display: flex; gap: 16px; font-size: 12px; color: var(--faint); margin: 0 2px 8px; align-items: center; }
.legend i { display: inline-block; width: 14px; height: 8px; border-radius: 2px; margin-right: 6px; }
.notes { font-size: 12.5px; color: var(--faint); margin: 8px 2px 0; }
@media (max-width: 900px) { .versus { grid-template-columns: 26px max-content max-content minmax(120px, 1fr) max-content max-content; } .versus .said { display: none; } }
`,S=new WeakMap;function T(t){return m(S,t,$,r=>r.update())}function $(t){let r=i("div",{className:"versus",role:"table","aria-label":"Advantages side by side"}),o=i("div",{className:"notes"}),e=i("div",{className:"root"},i("style",{textContent:x+k}),i("div",{className:"legend"},g("gray","as it was",.55),g("green","what if: reinforced"),g("red","what if: suppressed")),r,o);t.parentElement.append(e);let n={component:t,destroy(){}};return n.update=()=>{let{rows:a,notes:c}=n.component.data,u=Math.max(1e-9,...a.flatMap(({advantages:l,spread:d})=>l.map(w=>Math.abs(w??0)+(d??0)))),s=["#","completion","reward","what if","advantage","was","what if"].map((l,d)=>i("span",{className:`head${d===0||d===1||d===4?"":" num"}${d===1?" said":""}`},l));r.replaceChildren(...s,...a.flatMap(l=>M(l,u))),o.textContent=c.join(" "),e.dataset.rows=String(a.length)},n}function g(t,r,o=1){let e=i("i");return e.style.background=`var(--st-${t}-color)`,e.style.opacity=String(o),i("span",{},e,r)}function M({rank:t,text:r,correct:o,rewards:e,advantages:n,spread:a},c){let[u,s]=n;return[i("span",{className:"faint"},String(t)),i("span",{className:"said",title:o?"right":"wrong"},i("span",{},h(r))),i("span",{className:"num"},f(e[0])),i("span",{className:"num"},f(e[1])),i("span",{className:"bars"},v("was",u,c),v("now",s,c),...a?[N(s,a,c)]:[]),i("span",{className:"num faint"},b(u)),i("b",{className:"num",dataset:{now:String(s)}},a?`${b(s)} ± ${a.toFixed(2)}`:b(s))]}function v(t,r,o){let e=i("i",{className:t}),n=50*Math.abs(r??0)/o;return e.style.left=`${r<0?50-n:50}%`,e.style.width=`${n}%`,t==="now"&&(e.style.background=`var(--st-${r<0?"red":"green"}-color)`),e}function N(t,r,o){let e=i("i",{className:"spread"});return e.style.left=`${50+50*(t-r)/o}%`,e.style.width=`${100*r/o}%`,e}function b(t){return t===null?"left out":`${t>0?"+":t<0?"−":""}${Math.abs(t).toFixed(3)}`}export{T as default};
