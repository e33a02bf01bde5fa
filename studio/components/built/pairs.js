var h=`
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
`;function o(i,t={},...e){let a=document.createElement(i);for(let[n,r]of Object.entries(t))n==="dataset"?Object.assign(a.dataset,r):n.startsWith("aria-")||n==="role"||n==="for"?a.setAttribute(n,r):a[n]=r;return a.append(...e),a}async function b(i,t="This run is gone: it was deleted or moved."){let e;try{e=await fetch(i,{credentials:"same-origin",cache:"no-store"})}catch{throw new Error("The studio does not answer. Training goes on; this page reconnects by itself.")}if(e.status===401)throw new Error("The studio was restarted. Open the new link from its terminal.");if(e.status===404)throw new Error(t);if(!e.ok)throw new Error(`The studio answered ${e.status}; trying again.`);return e.json()}function m(i,t,e,a){let{parentElement:n}=t,r=i.get(n);return r||(r=e(t),i.set(n,r)),r.component=t,a(r),()=>{r.destroy(),i.delete(n)}}var w=/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;function l(i){return i.replace(w,t=>{let e=t.codePointAt(0);return e<32?String.fromCodePoint(9216+e):`⟨${e.toString(16).toUpperCase().padStart(4,"0")}⟩`})}var y=`
.tabs { display: flex; gap: 8px; margin-bottom: 10px; flex-wrap: wrap; }
.tabs button[aria-selected=true] { border-color: var(--st-primary-color); color: var(--st-primary-color); font-weight: 600; }
.list { border: 1px solid var(--line); border-radius: var(--st-base-radius); overflow: hidden; }
.item + .item { border-top: 1px solid var(--line); }
.line { display: grid; grid-template-columns: 18px minmax(0, 1fr) max-content; gap: 10px; width: 100%; border: 0; border-radius: 0; text-align: left;
  padding: 9px 14px; background: none; align-items: baseline; }
.line:hover:not(:disabled) { background: var(--hover); color: inherit; }
.line .question { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.line .gold { font-size: 12.5px; color: var(--faint); max-width: 260px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.line .mark { color: var(--faint); transition: transform .12s; align-self: center; width: 12px; text-align: center; line-height: 1; }
.line[aria-expanded=true] .mark { transform: rotate(90deg); }
.open { padding: 2px 14px 14px 42px; }
.open .whole { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 180px; overflow: auto; margin: 0 0 10px; }
.both { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.side { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 12px; min-width: 0; }
.side[data-right=true] { border-left: 3px solid var(--st-green-color); }
.side[data-right=false] { border-left: 3px solid var(--st-red-color); }
.side header { display: flex; gap: 4px 12px; align-items: baseline; flex-wrap: wrap; font-size: 12.5px; margin-bottom: 6px; }
.side header b { overflow-wrap: anywhere; }
.side .said { font-family: var(--st-code-font); font-size: 12.5px; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 320px; overflow: auto;
  unicode-bidi: isolate; direction: ltr; }
a { color: var(--st-link-color); }
.side footer { margin-top: 8px; font-size: 12.5px; }
.empty { padding: 18px; color: var(--faint); text-align: center; }
.moreline { padding: 8px 14px; font-size: 12.5px; color: var(--faint); border-top: 1px solid var(--line); }
@media (max-width: 800px) { .both { grid-template-columns: 1fr; } .open { padding-left: 14px; } }
`,k=new WeakMap;function C(i){return m(k,i,t=>new f(t),t=>t.update())}var f=class{constructor(t){this.component=t,this.tab=0,this.opened=new Set,this.tabs=o("div",{className:"tabs",role:"tablist"}),this.list=o("div",{className:"list"}),t.parentElement.append(o("div",{className:"root"},o("style",{textContent:h+y}),this.tabs,this.list))}destroy(){}update(){let{names:t,lists:e}=this.component.data,a=JSON.stringify([t,e.map(({rows:n})=>n.map(r=>r.groups))]);a!==this.key&&(this.key=a,this.opened.clear(),this.draw())}draw(){let{lists:t}=this.component.data;this.tabs.replaceChildren(...t.map(({label:r,num:s},u)=>o("button",{role:"tab","aria-selected":String(u===this.tab),onclick:()=>{this.tab=u,this.draw()}},`${r} · ${s.toLocaleString("en-US")}`)));let{rows:e,num:a,empty:n}=t[this.tab];this.list.replaceChildren(...e.map(r=>this.item(r))),e.length||this.list.append(o("div",{className:"empty"},n)),a>e.length&&this.list.append(o("div",{className:"moreline"},`The first ${e.length} of ${a.toLocaleString("en-US")}; the files hold all.`))}item(t){let e=o("button",{className:"line","aria-expanded":"false"},o("span",{className:"mark"},"›"),o("span",{className:"question"},l(t.question)),o("span",{className:"gold"},`answer ${l(t.gold)}`)),a=o("div",{className:"item"},e),n=t.groups.join("/"),r=s=>{e.setAttribute("aria-expanded",String(s)),a.querySelector(".open")?.remove(),s&&this.open(a,t),s?this.opened.add(n):this.opened.delete(n)};return e.onclick=()=>r(e.getAttribute("aria-expanded")!=="true"),this.opened.has(n)&&r(!0),a}async open(t,e){let{names:a,labels:n}=this.component.data,r=a.map((c,d)=>S(n[d],e.right[d],e.answers[d],`/inspector?run=${encodeURIComponent(c)}&step=${e.batches[d]}&prompt=${e.places[d]}`)),s=t.querySelector(".question"),x=s.scrollWidth>s.clientWidth||e.question.includes(`
`)?[o("div",{className:"whole"},l(e.question))]:[];t.append(o("div",{className:"open"},...x,o("div",{className:"both"},...r.map(({element:c})=>c)))),await Promise.all(a.map(async(c,d)=>{try{let p=await b(`/api/runs/${encodeURIComponent(c)}/group/${e.groups[d]}`,"This evaluation is gone: it was deleted or moved."),g=p.rollouts?.find(v=>v.idx===0);r[d].said.textContent=g?l(g.text):p.problem||"It cannot be read."}catch(p){r[d].said.textContent=p.message}}))}};function S(i,t,{extracted:e,rule:a},n){let r=o("div",{className:"said"},"…"),s=e===null?"no answer found":`${l(e)} · found by ${a.replaceAll("_"," ")}`;return{said:r,element:o("div",{className:"side",dataset:{right:String(t)}},o("header",{},o("b",{},i),o("span",{className:"faint"},t?"right":"wrong"),o("span",{className:"faint"},s)),r,o("footer",{},o("a",{href:n,target:"_blank",rel:"noopener"},"Open in the Inspector")))}}export{C as default};
