var p=`
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
`;function n(t,e={},...r){let a=document.createElement(t);for(let[o,i]of Object.entries(e))o==="dataset"?Object.assign(a.dataset,i):o.startsWith("aria-")||o==="role"||o==="for"?a.setAttribute(o,i):a[o]=i;return a.append(...r),a}function u(t,e="number"){if(t==null||!Number.isFinite(t))return"—";if(e==="percent")return`${(100*t).toFixed(1)} %`;if(e==="count")return Math.abs(t)<100?t.toFixed(1):c(t);if(e==="rate")return c(t);let r=Math.abs(t);return r>=1e3?c(t):r>=10?t.toFixed(1):r>=.01||t===0?t.toFixed(3):String(Number(t.toPrecision(2)))}function c(t){return Math.round(t).toLocaleString("en-US")}async function f(t){let e;try{e=await fetch(t,{credentials:"same-origin",cache:"no-store"})}catch{throw new Error("The studio does not answer. Training goes on; this page reconnects by itself.")}if(e.status===401)throw new Error("The studio was restarted. Open the new link from its terminal.");if(e.status===404)throw new Error("This run is gone: it was deleted or moved.");if(!e.ok)throw new Error(`The studio answered ${e.status}; trying again.`);return e.json()}function g(t,e,r,a){let{parentElement:o}=e,i=t.get(o);return i||(i=r(e),t.set(o,i)),i.component=e,a(i),()=>{i.destroy(),t.delete(o)}}var y=`
.prompt { font-family: var(--st-code-font); font-size: 13px; background: var(--soft); padding: 10px 14px;
  border-radius: var(--st-base-radius); white-space: pre-wrap; overflow-wrap: anywhere; max-height: 220px; overflow: auto; }
.stats { display: flex; gap: 28px; align-items: center; flex-wrap: wrap; padding: 12px 2px; min-height: 64px; }
.stats .label { font-size: 12.5px; }
.stats .value { font-weight: 600; overflow-wrap: anywhere; }
.stats .tools { margin-left: auto; display: flex; align-items: center; gap: 6px; font-size: 12.5px; }
.stats .tools button { padding: 2px 10px; font-size: 12.5px; }
.stats .tools button[aria-pressed=true] { border-color: var(--st-primary-color); color: var(--st-primary-color);
  background: var(--st-blue-background-color); }
.flat { margin: 0 0 10px; }
.list { border: 1px solid var(--line); border-radius: var(--st-base-radius); overflow: hidden; }
.row { display: grid; grid-template-columns: 5px 34px 214px minmax(0, 1fr); border-top: 1px solid var(--line); }
.row:first-child { border-top: 0; }
.rail { background: var(--rail, transparent); }
.rank { padding: 10px 0 0 10px; font-size: 12.5px; }
.worth { padding: 9px 12px 10px 4px; border-right: 1px solid var(--line); font-size: 13px; min-width: 0; }
.worth .top { display: flex; align-items: center; gap: 8px; min-height: 24px; }
.worth .reward { font-weight: 600; font-size: 15px; min-width: 3.2em; }
.worth .small { font-size: 12px; overflow-wrap: anywhere; }
.chip { border-radius: 5px; padding: 1px 7px; font-size: 12.5px; font-weight: 600; white-space: nowrap;
  color: var(--st-gray-text-color); background: var(--st-gray-background-color); }
.chip[data-tone=good] { color: var(--st-green-text-color); background: var(--st-green-background-color); }
.chip[data-tone=bad] { color: var(--st-red-text-color); background: var(--st-red-background-color); }
.chip[data-tone=warn] { color: var(--st-orange-text-color); background: var(--st-orange-background-color); }
.said { padding: 10px 14px; min-width: 0; }
.text { font-family: var(--st-code-font); font-size: 13px; line-height: 1.6; white-space: pre-wrap;
  overflow-wrap: anywhere; max-height: 340px; overflow: auto; }
.text .thought { color: var(--faint); }
.text .token { border-radius: 3px; }
.text .token:hover { outline: 1px solid var(--st-text-color); }
.fault { margin-top: 8px; font-family: var(--st-code-font); font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere;
  color: var(--st-red-text-color); }
.printed { margin-top: 8px; padding-left: 10px; border-left: 3px solid var(--line); font-family: var(--st-code-font);
  font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--faint); max-height: 160px; overflow: auto; }
.tip { position: fixed; pointer-events: none; z-index: 10; display: none; white-space: pre; font-family: var(--st-code-font);
  font-size: 12px; line-height: 1.5; padding: 7px 10px; border-radius: 6px; border: 1px solid var(--line);
  background: var(--panel); color: var(--st-text-color); box-shadow: 0 4px 16px rgb(0 0 0 / 18%); }
@media (max-width: 900px) { .row { grid-template-columns: 5px 28px 150px minmax(0, 1fr); } }
`,l=[{name:"log-prob",value:(t,e)=>t.logp[e],strength:t=>-t/5},{name:"entropy",value:(t,e)=>t.entropy[e],strength:t=>t/2},{name:"KL",value:(t,e)=>t.ref.length?t.old[e]-t.ref[e]:null,strength:t=>t/1.5},{name:"ratio",value:(t,e)=>Math.exp(t.logp[e]-t.old[e]),strength:t=>(t-1)/.2}],h={abstain:"abstained",error:"reward error",timeout:"reward timeout",crash:"reward crashed",nonfinite:"not finite",badtype:"wrong type"},k=new WeakMap;function A(t){return g(k,t,N,e=>e.update())}function N(t){let e=n("div",{className:"root"}),r=n("div",{className:"tip",role:"tooltip"}),a=n("div");e.append(n("style",{textContent:p+y}),a,r),t.parentElement.append(e);let o={component:t,channel:null,rows:[],destroy(){}};return o.update=()=>{let{data:i}=o.component;if(o.shown===i.id)return;o.shown=i.id,o.rows=i.rollouts.map(d=>T(d,r));let s=M(o,i);a.replaceChildren(...$(i,s),n("div",{className:"list",role:"list"},...o.rows.map(d=>d.element))),e.dataset.id=String(i.id),o.channel&&m(o)},o}function $(t,e){let r=t.stats.map(({label:o,value:i})=>n("div",{},n("div",{className:"faint label"},o),n("div",{className:"value"},i))),a=[n("div",{className:"prompt"},t.prompt),n("div",{className:"stats"},...r,e)];return t.flat&&a.push(n("div",{className:"alert flat",dataset:{tone:"warn"}},"No signal: all rewards of this group are equal, every advantage is 0, and it moves nothing.")),a}function M(t,e){if(!e.rollouts.some(a=>a.traced))return n("span");let r=l.map(a=>n("button",{"aria-pressed":String(t.channel===a),onclick:()=>{t.channel=t.channel===a?null:a,r.forEach((o,i)=>o.setAttribute("aria-pressed",String(t.channel===l[i]))),m(t)}},a.name));return n("div",{className:"tools"},n("span",{className:"faint"},"Colour tokens by"),...r)}function m(t){let{url:e}=t.component.data;for(let r of t.rows)r.rollout.traced&&(r.tokens??=f(`${e}/tokens/${r.rollout.id}`).catch(()=>null),r.tokens.then(a=>{a&&S(r,a,t.channel)}))}function S(t,e,r){if(!r){t.text.replaceChildren(...b(t.rollout.text));return}t.text.replaceChildren(...e.pieces.map((a,o)=>{let i=r.value(e,o),s=n("span",{className:"token",dataset:{index:o}},a);return i!==null&&(s.style.background=z(r.strength(i))),s})),t.text.onmousemove=a=>E(t.tip,a,e),t.text.onmouseleave=()=>{t.tip.style.display="none"}}function z(t){let e=Math.round(62*Math.max(-1,Math.min(1,t)));return`color-mix(in srgb, var(${e>=0?"--st-orange-color":"--st-blue-color"}) ${Math.abs(e)}%, transparent)`}function E(t,e,r){let a=e.target.dataset?.index;if(a===void 0){t.style.display="none";return}let o=Number(a),i=l.map(s=>`${s.name.padEnd(10)}${x(s.value(r,o))}`);i.push(`${"advantage".padEnd(10)}${x(r.advantage[o])}`),t.textContent=`${o}  ${JSON.stringify(r.pieces[o])}
${i.join(`
`)}`,t.style.display="block",t.style.left=`${Math.min(e.clientX+14,innerWidth-190)}px`,t.style.top=`${Math.min(e.clientY+16,innerHeight-130)}px`}function x(t){return t==null?"—":t.toFixed(3).padStart(8)}function T(t,e){let r=n("div",{className:"text"},...b(t.text)),a=n("div",{className:"said"},r);t.error&&a.append(n("div",{className:"fault"},t.error)),t.printed&&a.append(n("div",{className:"printed"},t.printed));let o=n("div",{className:"row",role:"listitem"},n("div",{className:"rail"}),n("div",{className:"rank faint"},String(t.rank)),C(t),a);return o.style.setProperty("--rail",O(t.advantage)),{rollout:t,element:o,text:r,tip:e,tokens:null}}function C(t){let{advantage:e}=t,r=e?e>0?"good":"bad":"plain",a=e>0?"+":e<0?"−":"",o=e===null?"left out":`A ${a}${Math.abs(e).toFixed(2)}`,i=[n("span",{className:"chip",dataset:{tone:r},title:"Advantage"},o)];h[t.outcome]&&i.push(n("span",{className:"chip",dataset:{tone:"warn"}},h[t.outcome]));let s=Object.entries(t.parts).map(([v,w])=>`${v} ${u(w)}`),d=[t.correct?"right":"wrong",`${t.num_tokens} tokens`];return t.finish==="length"&&d.push("cut off"),n("div",{className:"worth"},n("div",{className:"top"},n("span",{className:"reward",title:"Reward"},t.reward===null?"—":t.reward.toFixed(2)),...i),n("div",{className:"small"},d.join(" · ")),n("div",{className:"small faint"},s.join(" · ")))}function O(t){if(!t)return"transparent";let e=Math.round(30+70*Math.min(1,Math.abs(t)/2));return`color-mix(in srgb, var(${t>0?"--st-green-color":"--st-red-color"}) ${e}%, transparent)`}function b(t){let e=t.indexOf("</think>");if(!t.startsWith("<think>")||e<0)return[document.createTextNode(t||" ")];let r=e+8;return[n("span",{className:"thought"},t.slice(0,r)),document.createTextNode(t.slice(r))]}export{A as default};
