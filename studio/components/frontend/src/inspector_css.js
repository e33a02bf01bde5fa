export const INSPECTOR_CSS = `
[hidden] { display: none !important; }
.gap { flex: 1; }
.label { font-size: 12.5px; color: var(--faint); min-width: 46px; }
.tools { display: flex; align-items: center; gap: 6px; flex-wrap: wrap; font-size: 12.5px; }
.tools button, .steps button, .bar2 button, .formula button, .promptcard button.quiet, .help button { padding: 2px 9px; font-size: 12.5px; }
button[aria-pressed=true] { border-color: var(--st-primary-color); color: var(--st-primary-color); background: var(--st-blue-background-color); }
select, input[type=search], input[type=number] { font: inherit; font-size: 12.5px; color: inherit; background: var(--panel); border: 1px solid var(--line);
  border-radius: var(--st-button-radius); padding: 3px 8px; height: 26px; }
.steps, .prompts .tools, .bar2 { display: flex; align-items: center; gap: 6px; min-height: 30px; }
.steps .step { width: 84px; }
.steps .of { font-size: 12.5px; white-space: nowrap; }
.steps .ribbon { flex: 1; min-width: 80px; height: 30px; border-radius: 6px; background: var(--soft); cursor: pointer; }
.prompts { margin-top: 8px; }
.prompts .where { font-weight: 600; min-width: 64px; text-align: center; font-size: 12.5px; }
.filters { display: inline-flex; gap: 4px; flex-wrap: wrap; }
.cells { display: flex; gap: 3px; margin-top: 6px; flex-wrap: nowrap; }
.cells[data-dense=true] { flex-wrap: wrap; gap: 2px; }
.cell { flex: 1 1 0; min-width: 0; height: 26px; padding: 0; font-size: 12px; border-color: transparent; color: var(--st-text-color);
  background: color-mix(in srgb, var(--st-green-color) var(--share), var(--st-gray-background-color)); overflow: hidden; }
.cells[data-dense=true] .cell { flex: 0 0 14px; height: 16px; border-radius: 3px; }
.cell[data-flat=true] { background-image: repeating-linear-gradient(135deg, transparent 0 5px, color-mix(in srgb, var(--st-text-color) 13%, transparent) 5px 6px); }
.cell[data-fits=false] { opacity: .28; }
.cell[aria-selected=true] { box-shadow: 0 0 0 2px var(--st-primary-color); font-weight: 600; }
.bar2 { margin: 8px 0 10px; }
.search { display: inline-flex; align-items: center; gap: 8px; font-size: 12.5px; }
.search input { width: 250px; }
.search .here { min-width: 5.5em; }
.panel, .help { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 12px; margin-bottom: 10px; background: var(--panel); }
.inspector { position: relative; }
.overlay { position: relative; height: 0; z-index: 20; }
.overlay > * { position: absolute; left: 0; right: 0; top: 0; box-shadow: 0 8px 28px rgb(0 0 0 / 18%); }
.hits { max-height: 260px; overflow: auto; margin-top: 8px; }
.hits button { display: grid; grid-template-columns: 80px minmax(0, 1fr) minmax(0, 2fr) 110px; gap: 12px; width: 100%; text-align: left; border: 0; border-top: 1px solid var(--line);
  border-radius: 0; padding: 4px 6px; font-size: 12.5px; }
.hits .said, .hits .asked { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.hits mark { background: color-mix(in srgb, var(--st-yellow-color) 45%, transparent); color: inherit; border-radius: 2px; }
.hits .said { font-family: var(--st-code-font); font-size: 12px; }
.hits .num { text-align: left; }
.help header, .formula header { display: flex; align-items: center; gap: 8px; margin-bottom: 8px; }
.help h4, .formula h4 { margin: 0; font-size: 13.5px; font-weight: 600; white-space: pre; }
.help dl { display: grid; grid-template-columns: repeat(3, 70px minmax(0, 1fr)); gap: 3px 12px; margin: 0; font-size: 12.5px; }
.help dt { font-family: var(--st-code-font); white-space: pre; }
.help dd { margin: 0; color: var(--faint); }
.promptcard { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 14px; }
.promptcard .line { display: flex; align-items: flex-start; gap: 16px; justify-content: space-between; }
.prompt { font-family: var(--st-code-font); font-size: 13px; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 260px; overflow: auto; flex: 1;
  unicode-bidi: isolate; direction: ltr; }
.prompt.short { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
.columns { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 14px; margin: 10px 0 0; font-size: 12.5px; max-height: 220px; overflow: auto; }
.columns dt { color: var(--faint); }
.columns dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.stats { display: flex; gap: 26px; flex-wrap: wrap; margin-top: 8px; }
.stats .label { font-size: 12px; }
.stats .value { font-weight: 600; max-width: 260px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.times { display: flex; align-items: flex-end; gap: 10px; font-size: 12px; margin-top: 8px; min-width: 0; }
.dots { display: inline-flex; align-items: flex-end; height: 34px; gap: 1px; }
.dots .dot { width: 9px; height: 100%; padding: 0; border: 0; background: none; position: relative; border-radius: 0; }
.dots .dot::before { content: ""; position: absolute; left: 1px; width: 7px; height: 7px; border-radius: 50%; bottom: calc(var(--high) * .78); background: var(--st-gray-color); }
.dots .dot:hover::before, .dots .dot[aria-current=true]::before { background: var(--st-primary-color); }
.flat { margin-top: 10px; }
.split { display: grid; grid-template-columns: minmax(300px, 2fr) minmax(0, 3fr); gap: 14px; margin-top: 12px; align-items: start; }
.rowhead, .row { display: grid; grid-template-columns: 26px 44px minmax(40px, 1fr) 50px minmax(60px, 2fr); gap: 8px; align-items: center; }
.rowhead { font-size: 11.5px; padding: 0 10px 4px; }
.rowhead span:nth-child(2), .rowhead span:nth-child(4) { text-align: right; }
.rows { border: 1px solid var(--line); border-radius: var(--st-base-radius); max-height: 640px; overflow: auto; position: relative; }
.row { padding: 7px 10px; font-size: 13px; cursor: pointer; border-top: 1px solid var(--line); border-left: 3px solid transparent; }
.row:first-child { border-top: 0; }
.row:hover { background: var(--hover); }
.row[aria-selected=true] { background: var(--st-blue-background-color); border-left-color: var(--st-primary-color); }
.row[data-fits=false] { opacity: .35; }
.row .reward { text-align: right; font-weight: 600; }
.row .worth { text-align: right; border-radius: 5px; padding: 0 5px; font-size: 12px; }
.row[data-tone=good] .worth { background: color-mix(in srgb, var(--st-green-color) var(--size), transparent); }
.row[data-tone=bad] .worth { background: color-mix(in srgb, var(--st-red-color) var(--size), transparent); }
.row[data-tone=zero] .worth, .row[data-tone=none] .worth { color: var(--faint); }
.row canvas { width: 100%; height: 14px; border-radius: 2px; display: block; }
.rows[data-dense=true] .row { padding: 0 10px; font-size: 11.5px; line-height: 17px; border-top-color: transparent; }
.rows[data-dense=true] .row canvas { height: 10px; }
.rows[data-dense=true] .row .worth { font-size: 11px; }
.partlegend { display: flex; gap: 12px; flex-wrap: wrap; font-size: 12px; color: var(--faint); padding: 6px 2px 0; }
.partlegend .item { display: inline-flex; align-items: center; gap: 5px; }
.partlegend .dot { width: 8px; height: 8px; border-radius: 2px; }
.open { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 14px 12px; min-width: 0; }
.facts { display: flex; align-items: center; gap: 12px; flex-wrap: wrap; min-height: 28px; font-size: 13px; }
.facts .name { font-size: 14px; }
.chip { border-radius: 5px; padding: 1px 7px; font-size: 12.5px; font-weight: 600; white-space: nowrap;
  color: var(--st-gray-text-color); background: var(--st-gray-background-color); }
.chip[data-tone=good] { color: var(--st-green-text-color); background: var(--st-green-background-color); }
.chip[data-tone=bad] { color: var(--st-red-text-color); background: var(--st-red-background-color); }
.chip[data-tone=warn] { color: var(--st-orange-text-color); background: var(--st-orange-background-color); }
.open .tools { margin-top: 8px; gap: 4px; }
.about { font-size: 12px; min-height: 34px; padding: 6px 0 4px; line-height: 1.4; }
.text { font-family: var(--st-code-font); font-size: 13px; line-height: 1.7; white-space: pre-wrap; overflow-wrap: anywhere;
  min-height: 120px; max-height: 460px; overflow: auto; unicode-bidi: isolate; direction: ltr; border-radius: 4px; }
.text:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 3px; }
.text[data-shown=tokens] .chunk > span { border-radius: 3px; cursor: pointer; }
.text[data-shown=tokens] .chunk > span:hover { outline: 1px solid var(--faint); }
.text .thought { color: var(--faint); }
.text .clipped { text-decoration: underline wavy var(--st-red-color) 1px; text-underline-offset: 3px; }
.text .chosen { outline: 2px solid var(--st-primary-color) !important; }
.text .found, .text mark { background: color-mix(in srgb, var(--st-yellow-color) 45%, transparent); color: inherit; border-radius: 2px; }
.text .added { background: var(--st-green-background-color); color: var(--st-green-text-color); border-radius: 2px; }
.text .gone { background: var(--st-red-background-color); color: var(--st-red-text-color); text-decoration: line-through; border-radius: 2px; }
.folded { font-size: 12px; padding: 1px 9px; margin-right: 6px; color: var(--faint); font-family: var(--st-font); }
.breakdown { margin-top: 10px; font-size: 12.5px; }
.parttable { display: grid; grid-template-columns: max-content max-content max-content max-content; gap: 2px 18px; border-top: 1px solid var(--line); padding-top: 8px; }
.fault { margin-top: 8px; font-family: var(--st-code-font); font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--st-red-text-color); }
.printed { margin-top: 8px; padding-left: 10px; border-left: 3px solid var(--line); font-family: var(--st-code-font);
  font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--faint); max-height: 160px; overflow: auto; }
.card { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 14px 12px; margin-top: 12px; }
.formula label { font-size: 12.5px; color: var(--faint); white-space: nowrap; }
.terms { display: grid; gap: 0 16px; font-size: 12.5px; overflow-x: auto; }
.terms > * { border-top: 1px solid var(--line); padding: 5px 0; min-width: 0; }
.terms > span:first-child, .terms .side { border-top: 0; padding-top: 0; }
.terms .side .faint { font-weight: 400; }
.terms .term { color: var(--faint); }
.terms .line { display: grid; grid-template-columns: minmax(0, 1fr) max-content; gap: 1px 10px; align-content: start; }
.terms .line > * { grid-column: 1; }
.terms .line > .value { grid-column: 2; grid-row: 1; }
.worked { margin-top: 8px; padding-top: 7px; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
.math { font-family: var(--st-code-font); font-size: 12px; overflow-wrap: anywhere; }
.terms .note { font-size: 12px; }
.notes { font-size: 12px; margin-top: 6px; }
.empty { color: var(--faint); padding: 12px 0; }
.tip { position: fixed; pointer-events: none; z-index: 10; display: none; white-space: pre; font-family: var(--st-code-font);
  font-size: 12px; line-height: 1.5; padding: 7px 10px; border-radius: 6px; border: 1px solid var(--line);
  background: var(--panel); color: var(--st-text-color); box-shadow: 0 4px 16px rgb(0 0 0 / 18%); }
.aboutline { display: flex; align-items: baseline; gap: 10px; flex-wrap: wrap; font-size: 13px; margin-bottom: 10px; }
.aboutline .facts { font-weight: 600; font-size: 13px; min-height: 0; overflow-wrap: anywhere; }
[data-kind=evaluation] .rowhead, .row[data-asked] { grid-template-columns: 22px 58px 14px minmax(0, 3fr) minmax(0, 2.6fr) minmax(30px, 1.4fr) 40px; }
.row .length i { display: block; height: 8px; min-width: 2px; border-radius: 2px; background: color-mix(in srgb, var(--st-text-color) 22%, transparent); }
.rows[data-dense=true] .row .length i { height: 6px; }
[data-kind=evaluation] .rowhead { padding-left: 14px; }
[data-kind=evaluation] .rowhead span { text-align: left; }
.row[data-asked] > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row[data-asked=greedy] .asked-how { font-weight: 600; }
.row .said { font-family: var(--st-code-font); font-weight: 600; }
.row .rule { font-size: 12px; }
.row .said.nothing, .nothing { font-family: var(--st-font); font-weight: 400 !important; color: var(--faint); }
.sign { font-weight: 700; }
.sign[data-verdict=right] { color: var(--st-green-text-color); }
.sign[data-verdict=wrong] { color: var(--st-red-text-color); }
.sign[data-verdict="not judged"] { color: var(--st-orange-text-color); }
.found-answer { min-width: 0; overflow-wrap: anywhere; }
.found-answer b { font-family: var(--st-code-font); }
[data-kind=evaluation] .tools .about { min-height: 0; padding: 0; min-width: 0; flex: 1; }
[data-kind=evaluation] .open .gap { display: none; }
[data-kind=evaluation] .text { margin-top: 8px; }
@media (max-width: 1100px) { .split { grid-template-columns: minmax(0, 1fr); } .rows { max-height: 300px; } .help dl { grid-template-columns: repeat(2, 70px minmax(0, 1fr)); } .formula header { flex-wrap: wrap; } }
@media (max-width: 1000px) { [data-kind=evaluation] .filters { flex-basis: 100%; } [data-kind=evaluation] .showing { display: none; } }
@media (max-width: 760px) { .steps { flex-wrap: wrap; } .search input { width: 170px; } }
`;
