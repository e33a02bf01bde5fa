var w=`
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
`,y="All steps of this run are done. New run starts another one.",m=["starting","running","paused","stopping"],U={starting:"live",running:"live",paused:"warn",stopping:"warn",stopped:"plain",completed:"good",failed:"bad",crashed:"bad"};function n(t,e={},...o){let a=document.createElement(t);for(let[r,s]of Object.entries(e))r==="dataset"?Object.assign(a.dataset,s):r.startsWith("aria-")||r==="role"||r==="for"?a.setAttribute(r,s):a[r]=s;return a.append(...o),a}function p(t,e){t.textContent!==e&&(t.textContent=e)}function k(t,e){p(t,e),t.dataset.tone=U[e]??"plain"}function S(t,e="number"){if(t==null||!Number.isFinite(t))return"—";if(e==="percent")return`${(100*t).toFixed(1)} %`;if(e==="count")return Math.abs(t)<100?t.toFixed(1):h(t);if(e==="rate")return h(t);let o=Math.abs(t);return o>=1e3?h(t):o>=10?t.toFixed(1):o>=.01||t===0?t.toFixed(3):String(Number(t.toPrecision(2)))}function h(t){return Math.round(t).toLocaleString("en-US")}function E(t,e=Date.now()/1e3){let o=Math.max(0,e-t);return o<90?`${Math.round(o)} s ago`:o<5400?`${Math.round(o/60)} min ago`:o<129600?`${Math.round(o/3600)} h ago`:`${Math.round(o/86400)} days ago`}function N(t,e,o){let a=0,r=!1,s=!1,d=0;async function c(){if(r||s||document.hidden)return;s=!0;let l;try{await t(),d=0,l=e()}catch(b){l=Math.min(1e4,1e3*2**d++),r||o(b)}s=!1,clearTimeout(a),r||(a=setTimeout(c,l))}return document.addEventListener("visibilitychange",c),c(),{now(){clearTimeout(a),c()},stop(){r=!0,clearTimeout(a),document.removeEventListener("visibilitychange",c)}}}async function M(t,e="This run is gone: it was deleted or moved."){let o;try{o=await fetch(t,{credentials:"same-origin",cache:"no-store"})}catch{throw new Error("The studio does not answer. Training goes on; this page reconnects by itself.")}if(o.status===401)throw new Error("The studio was restarted. Open the new link from its terminal.");if(o.status===404)throw new Error(e);if(!o.ok)throw new Error(`The studio answered ${o.status}; trying again.`);return o.json()}function $(t,e,o,a){let{parentElement:r}=e,s=t.get(r);return s||(s=o(e),t.set(r,s)),s.component=e,a(s),()=>{s.destroy(),t.delete(r)}}var _=`
.wrap { overflow-x: auto; border: 1px solid var(--line); border-radius: var(--st-base-radius); }
table { width: 100%; border-collapse: collapse; min-width: 860px; }
th { text-align: left; font-weight: 600; font-size: 12.5px; color: var(--faint); padding: 9px 14px;
  background: var(--soft); border-bottom: 1px solid var(--line); white-space: nowrap; }
td { padding: 10px 14px; border-bottom: 1px solid var(--line); vertical-align: middle; height: 60px; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--hover); }
th.num { text-align: right; }
.name { border: 0; background: none; padding: 2px 4px; margin-left: -4px; font-weight: 600;
  max-width: 260px; overflow: hidden; text-overflow: ellipsis; color: var(--st-link-color); }
.name:hover:not(:disabled) { text-decoration: underline; }
.progress { min-width: 130px; }
.progress .bar { margin-top: 5px; }
.note { font-size: 12.5px; color: var(--faint); max-width: 260px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.actions { display: flex; gap: 6px; justify-content: flex-end; }
.actions button { font-size: 13px; padding: 3px 10px; min-width: 76px; }
svg { display: block; overflow: visible; }
`,O=6e3,z=new WeakMap;function B(t){return $(z,t,F,()=>{})}function F(t){let e=n("tbody"),o=n("tr",{});for(let[u,f]of[["Run",""],["Status",""],["Step",""],["Held-out accuracy","num"],["Reward",""],["Started",""],["",""]])o.append(n("th",{className:f,scope:"col"},u));let a=n("div",{className:"alert",hidden:!0,role:"status"});a.dataset.tone="warn",a.style.marginBottom="10px";let r=n("div",{className:"wrap"},n("table",{},n("thead",{},o),e)),s=n("div",{className:"root"},n("style",{textContent:w+_}),a,r);t.parentElement.append(s);let d={component:t,rows:new Map},c=(u,f)=>d.component.setTriggerValue("action",{kind:u,run:f}),l=!0;async function b(){let{runs:u}=await M(t.data.url);a.hidden=!0,l=u.some(i=>m.includes(i.status));let f=u.map(i=>{d.rows.has(i.name)||d.rows.set(i.name,L(i.name,c));let g=d.rows.get(i.name);return j(g,i),g.element}),C=new Set(u.map(i=>i.name));for(let[i,g]of d.rows)C.has(i)||(g.element.remove(),d.rows.delete(i));f.forEach((i,g)=>{e.children[g]!==i&&e.insertBefore(i,e.children[g]??null)}),s.dataset.num=String(u.length)}let v=N(b,()=>l?1500:4e3,u=>{p(a,u.message),a.hidden=!1});return d.destroy=()=>v.stop(),d}function L(t,e){let o={name:n("button",{className:"name",title:t,onclick:()=>e("open",t)},t),status:n("span",{className:"badge"}),note:n("div",{className:"note"}),step:n("span"),bar:n("i"),accuracy:n("td",{className:"num"}),spark:D(),started:n("td",{className:"faint"}),toggle:n("button"),end:n("button"),busyUntil:0},a=r=>()=>{o.busyUntil=Date.now()+O,o.busyStatus=o.status.textContent,r.dataset.kind==="delete"?o.busyUntil=0:o.toggle.disabled=o.end.disabled=!0,e(r.dataset.kind,t)};return o.toggle.onclick=a(o.toggle),o.end.onclick=a(o.end),o.element=n("tr",{dataset:{run:t}},n("td",{},o.name,o.note),n("td",{},o.status),n("td",{className:"progress"},o.step,n("div",{className:"bar"},o.bar)),o.accuracy,n("td",{},o.spark.svg),o.started,n("td",{},n("div",{className:"actions"},o.toggle,o.end))),o}function j(t,e){k(t.status,e.status),p(t.step,e.num_steps?`${e.step} of ${e.num_steps}`:String(e.step)),t.bar.style.width=`${e.num_steps?Math.min(100,100*e.step/e.num_steps):0}%`,p(t.accuracy,S(e.accuracy,"percent")),p(t.started,e.started?E(e.started):"—");let o=e.message||(m.includes(e.status)?e.phase:"");p(t.note,o),t.note.title=o,t.spark.draw(e.sparkline);let a=m.includes(e.status);A(t.toggle,a?e.status==="paused"?"continue":"pause":"resume",e.name),A(t.end,a?"stop":"delete",e.name),t.end.classList.toggle("danger",!0);let r=Date.now()<t.busyUntil&&e.status===t.busyStatus;t.toggle.disabled=r||e.status==="starting"||e.status==="stopping"||e.status==="completed",t.toggle.title=e.status==="completed"?y:"",t.end.disabled=r||e.status==="stopping"}function A(t,e,o){t.dataset.kind=e,p(t,e[0].toUpperCase()+e.slice(1)),t.setAttribute("aria-label",`${e} ${o}`)}var T=116,x=30;function D(){let t=document.createElementNS("http://www.w3.org/2000/svg","svg");t.setAttribute("width",T),t.setAttribute("height",x),t.setAttribute("aria-hidden","true");let e=document.createElementNS(t.namespaceURI,"polyline");e.setAttribute("fill","none"),e.setAttribute("stroke-width","1.6"),e.setAttribute("stroke-linejoin","round"),e.style.stroke="var(--st-primary-color)",t.append(e);function o(a){let r=a.filter(l=>l!==null),s=Math.min(...r),d=Math.max(...r)-s||1,c=r.map((l,b)=>`${(r.length>1?b/(r.length-1)*T:0).toFixed(1)},${(x-3-(l-s)/d*(x-6)).toFixed(1)}`);e.setAttribute("points",c.length>1?c.join(" "):"")}return{svg:t,draw:o}}export{B as default};
