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
`;function a(i,t={},...e){let n=document.createElement(i);for(let[r,o]of Object.entries(t))r==="dataset"?Object.assign(n.dataset,o):r.startsWith("aria-")||r==="role"||r==="for"?n.setAttribute(r,o):n[r]=o;return n.append(...e),n}async function b(i,t="This run is gone: it was deleted or moved."){let e;try{e=await fetch(i,{credentials:"same-origin",cache:"no-store"})}catch{throw new Error("The studio does not answer. Training goes on; this page reconnects by itself.")}if(e.status===401)throw new Error("The studio was restarted. Open the new link from its terminal.");if(e.status===404)throw new Error(t);if(!e.ok)throw new Error(`The studio answered ${e.status}; trying again.`);return e.json()}function m(i,t,e,n){let{parentElement:r}=t,o=i.get(r);return o||(o=e(t),i.set(r,o)),o.component=t,n(o),()=>{o.destroy(),i.delete(r)}}var w=/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;function l(i){return i.replace(w,t=>{let e=t.codePointAt(0);return e<32?String.fromCodePoint(9216+e):`⟨${e.toString(16).toUpperCase().padStart(4,"0")}⟩`})}var y=`
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
`,u=200,k=new WeakMap;function E(i){return m(k,i,t=>new f(t),t=>t.update())}var f=class{constructor(t){this.component=t,this.tab=0,this.opened=new Set,this.tabs=a("div",{className:"tabs",role:"tablist"}),this.list=a("div",{className:"list"}),t.parentElement.append(a("div",{className:"root"},a("style",{textContent:h+y}),this.tabs,this.list))}destroy(){}update(){let{names:t,lists:e}=this.component.data,n=JSON.stringify([t,e.map(({rows:r})=>r.map(o=>o.groups))]);n!==this.key&&(this.key=n,this.opened.clear(),this.draw())}draw(){let{lists:t}=this.component.data;this.tabs.replaceChildren(...t.map(({label:r,rows:o},s)=>a("button",{role:"tab","aria-selected":String(s===this.tab),onclick:()=>{this.tab=s,this.draw()}},`${r} · ${o.length.toLocaleString("en-US")}`)));let{rows:e,empty:n}=t[this.tab];this.list.replaceChildren(...e.slice(0,u).map(r=>this.item(r))),e.length||this.list.append(a("div",{className:"empty"},n)),e.length>u&&this.list.append(a("div",{className:"moreline"},`The first ${u} of ${e.length.toLocaleString("en-US")}; the files hold all.`))}item(t){let e=a("button",{className:"line","aria-expanded":"false"},a("span",{className:"mark"},"›"),a("span",{className:"question"},l(t.question)),a("span",{className:"gold"},`answer ${l(t.gold)}`)),n=a("div",{className:"item"},e),r=t.groups.join("/"),o=s=>{e.setAttribute("aria-expanded",String(s)),n.querySelector(".open")?.remove(),s&&this.open(n,t),s?this.opened.add(r):this.opened.delete(r)};return e.onclick=()=>o(e.getAttribute("aria-expanded")!=="true"),this.opened.has(r)&&o(!0),n}async open(t,e){let{names:n,labels:r}=this.component.data,o=n.map((c,d)=>S(r[d],e.right[d],e.answers[d],`/inspector?run=${encodeURIComponent(c)}&step=${e.batches[d]}&prompt=${e.places[d]}`)),s=t.querySelector(".question"),x=s.scrollWidth>s.clientWidth||e.question.includes(`
`)?[a("div",{className:"whole"},l(e.question))]:[];t.append(a("div",{className:"open"},...x,a("div",{className:"both"},...o.map(({element:c})=>c)))),await Promise.all(n.map(async(c,d)=>{try{let p=await b(`/api/runs/${encodeURIComponent(c)}/group/${e.groups[d]}`,"This evaluation is gone: it was deleted or moved."),g=p.rollouts?.find(v=>v.idx===0);o[d].said.textContent=g?l(g.text):p.problem||"It cannot be read."}catch(p){o[d].said.textContent=p.message}}))}};function S(i,t,{extracted:e,rule:n},r){let o=a("div",{className:"said"},"…"),s=e===null?"no answer found":`${l(e)} · found by ${n.replaceAll("_"," ")}`;return{said:o,element:a("div",{className:"side",dataset:{right:String(t)}},a("header",{},a("b",{},i),a("span",{className:"faint"},t?"right":"wrong"),a("span",{className:"faint"},s)),o,a("footer",{},a("a",{href:r,target:"_blank",rel:"noopener"},"Open in the Inspector")))}}export{E as default};
