var m=`
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
`;var E={starting:"live",running:"live",paused:"warn",stopping:"warn",stopped:"plain",completed:"good",failed:"bad",crashed:"bad"};function t(r,a={},...i){let n=document.createElement(r);for(let[e,o]of Object.entries(a))e==="dataset"?Object.assign(n.dataset,o):e.startsWith("aria-")||e==="role"||e==="for"?n.setAttribute(e,o):n[e]=o;return n.append(...i),n}function M(r,a){r.textContent!==a&&(r.textContent=a)}function w(r,a){M(r,a),r.dataset.tone=E[a]??"plain"}function v(r,a,i,n){let{parentElement:e}=a,o=r.get(e);return o||(o=i(a),r.set(e,o)),o.component=a,n(o),()=>{o.destroy(),r.delete(e)}}var z=`
.section + .section { margin-top: 18px; }
.section > header { display: flex; align-items: baseline; gap: 4px 14px; flex-wrap: wrap; margin: 0 2px 6px; }
.section h4 { margin: 0; font-size: 14px; font-weight: 600; overflow-wrap: anywhere; }
.section header span { font-size: 12.5px; overflow-wrap: anywhere; }
.wrap { overflow: auto; max-height: 460px; border: 1px solid var(--line); border-radius: var(--st-base-radius); }
table { width: 100%; border-collapse: collapse; min-width: 640px; table-layout: fixed; }
table[data-wide=true] { min-width: 1140px; }
col.label { width: 21%; }
table[data-wide=true] col:nth-child(4), table[data-wide=true] col:nth-child(5) { width: 10.5%; }
table[data-wide=true] col:nth-child(3) { width: 8.5%; }
col.axis { width: 17%; }
col.buttons { width: 258px; }
th { position: sticky; top: 0; z-index: 1; text-align: left; font-weight: 600; font-size: 12.5px; color: var(--faint); padding: 8px 12px;
  background: var(--soft); border-bottom: 1px solid var(--line); white-space: nowrap; }
th[title]:not([title=""]) { cursor: help; }
th.axis { padding-left: 0; padding-right: 0; min-width: 190px; z-index: 2; }
td { padding: 7px 12px; border-bottom: 1px solid var(--line); vertical-align: middle; height: 40px; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--hover); }
tr[data-chosen=true] { background: color-mix(in srgb, var(--st-primary-color) 8%, transparent); }
td.label > * { max-width: 100%; overflow: hidden; text-overflow: ellipsis; display: block; }
.name { border: 0; background: none; padding: 1px 4px; margin-left: -4px; font-weight: 600; color: var(--st-link-color); text-align: left; }
.name:hover:not(:disabled) { text-decoration: underline; }
.plain { font-weight: 600; }
.more { font-size: 12px; line-height: 1.3; color: var(--faint); }
.status { margin-top: 3px; display: flex !important; align-items: center; gap: 8px; font-size: 12px; color: var(--faint); }
.status .bar { width: 90px; flex: none; }
td.axis { position: relative; padding: 0; }
.axis .grid { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--line); }
.axis .line { position: absolute; top: 0; bottom: 0; width: 0; border-left: 1.5px dashed var(--st-orange-color); }
.axis .span { position: absolute; top: 50%; height: 4px; margin-top: -2px; border-radius: 2px; background: var(--st-primary-color); opacity: .38; }
.axis .dot { position: absolute; top: 50%; width: 10px; height: 10px; margin: -5px 0 0 -5px; border-radius: 50%; background: var(--st-primary-color);
  border: 2px solid var(--panel); }
.scale { position: relative; height: 16px; font-weight: 400; font-size: 11px; }
.scale span { position: absolute; transform: translateX(-50%); }
.actions { display: flex; gap: 6px; justify-content: flex-end; }
.actions button { font-size: 13px; padding: 3px 10px; }
.reference { font-size: 12.5px; color: var(--faint); margin: 6px 2px 0; display: flex; gap: 8px; align-items: baseline; }
.reference i { flex: none; width: 16px; border-top: 1.5px dashed var(--st-orange-color); transform: translateY(-4px); }
`,y=[0,25,50,75,100],T=new WeakMap;function P(r){return v(T,r,C,a=>a.update())}function C(r){let a=t("div"),i=t("div",{className:"root"},t("style",{textContent:m+z}),a);r.parentElement.append(i);let n={component:r,destroy(){}},e=(o,s)=>n.component.setTriggerValue("action",{kind:o,id:s});return n.update=()=>{let{sections:o}=n.component.data;a.replaceChildren(...o.map(s=>O(s,e))),i.dataset.rows=String(o.reduce((s,{rows:l})=>s+l.length,0))},n}function O({title:r,note:a,columns:i,axis:n,rows:e,line:o},s){let l=e.some(({actions:d})=>d.length),c=t("tr",{},t("th",{scope:"col"},i[0].label),t("th",{scope:"col",className:"axis",title:n.help},n.label,t("div",{className:"scale"},...y.map(d=>k("span",{},d/100,String(d))))),...i.slice(1).map(({label:d,help:u})=>t("th",{className:"num",scope:"col",title:u},d)),...l?[t("th",{scope:"col","aria-label":"Actions"})]:[]),g=["label","axis",...i.slice(1).map(()=>""),...l?["buttons"]:[]],f=t("table",{dataset:{wide:String(l)}},t("colgroup",{},...g.map(d=>t("col",{className:d}))),t("thead",{},c),t("tbody",{},...e.map(d=>A(d,o,l,s))));return t("section",{className:"section","aria-label":r},t("header",{},t("h4",{},r),t("span",{className:"faint"},a)),t("div",{className:"wrap"},f),...o?[t("div",{className:"reference"},t("i"),t("span",{},o.label))]:[])}function A(r,a,i,n){let{id:e,label:o,more:s,value:l,low:c,high:g,cells:f,actions:d,status:u,chosen:N,opens:x}=r,S=x?t("button",{className:"name",title:o,onclick:()=>n(x,e)},o):t("span",{className:"plain",title:o},o);return t("tr",{dataset:{id:e,chosen:String(!!N)}},t("td",{className:"label"},S,...s?[t("span",{className:"more",title:s},s)]:[],...u?[F(u)]:[]),j(l,c,g,a),...f.map(({text:b,more:p})=>t("td",{className:"num"},b,...p?[t("div",{className:"more"},p)]:[])),...i?[t("td",{},t("div",{className:"actions"},...d.map(({kind:b,label:p,danger:$})=>t("button",{className:$?"danger":"",dataset:{kind:b},"aria-label":`${p} ${e}`,onclick:h=>{h.target.disabled=!0,n(b,e),setTimeout(()=>{h.target.disabled=!1},3e3)}},p))))]:[])}function F({name:r,share:a,text:i}){let n=t("span",{className:"badge"}),e=t("i");return w(n,r),e.style.width=`${100*a}%`,t("span",{className:"status",title:i},n,t("div",{className:"bar"},e),t("span",{},i))}function j(r,a,i,n){let e=t("td",{className:"axis"}),o=(l,c)=>k("i",{className:l},c);if(e.append(...y.map(l=>o("grid",l/100))),n&&e.append(o("line",n.value)),r===null)return e;let s=o("span",a);return s.style.width=`${100*(i-a)}%`,e.append(s,o("dot",r)),e}function k(r,a,i,...n){let e=t(r,a,...n);return e.style.left=`${100*i}%`,e}export{P as default};
