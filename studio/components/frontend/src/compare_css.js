export const COMPARE_CSS = `
.card { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 12px 16px 10px; min-width: 0; }
.card header { display: flex; align-items: baseline; gap: 6px 24px; flex-wrap: wrap; min-height: 24px; margin-bottom: 2px; }
.card h4 { margin: 0; font-size: 14px; font-weight: 600; white-space: nowrap; }
.card .where { font-size: 13px; font-weight: 600; white-space: nowrap; margin-left: -12px; }
.legend { margin-left: auto; display: flex; flex-wrap: wrap; gap: 4px 22px; font-size: 13px; }
.legend .item { display: inline-flex; align-items: center; gap: 7px; white-space: nowrap; }
.legend .label { font-weight: 600; max-width: 320px; overflow: hidden; text-overflow: ellipsis; }
.legend .seeds { color: var(--faint); font-size: 12px; }
.legend b { font-weight: 600; min-width: 7.2em; text-align: right; }
.swatch { display: inline-block; width: 20px; height: 3px; border-radius: 1px; flex: none; }
.stage { position: relative; }
.plot { height: 360px; overflow: hidden; }
.plot .u-over { cursor: crosshair; }
.plot .u-select { background: color-mix(in srgb, var(--st-primary-color) 14%, transparent); }
.plot .u-cursor-x { border-right: 1px solid var(--faint); }
.uplot { font-family: inherit; }
.empty { position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; color: var(--faint); pointer-events: none; }
.empty[hidden] { display: none; }
.note { font-size: 12.5px; margin-top: 4px; }
.remarks { list-style: none; color: var(--faint); margin: 0; padding: 0; font-size: 12.5px; overflow-wrap: anywhere; }
.remarks li[data-tone=warn] { color: var(--st-orange-text-color); }
.verdicts { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px; margin-top: 10px; }
.verdicts[hidden] { display: none; }
.verdicts .title { font-size: 12.5px; }
.verdicts .verdict { font-size: 16px; font-weight: 600; line-height: 1.4; margin: 2px 0 4px; overflow-wrap: anywhere; }
.verdicts .text { font-size: 12.5px; overflow-wrap: anywhere; }
.wrap { overflow-x: auto; border: 1px solid var(--line); border-radius: var(--st-base-radius); margin-top: 10px; }
table { width: 100%; border-collapse: collapse; min-width: 980px; }
th { text-align: left; font-weight: 600; font-size: 12.5px; color: var(--faint); padding: 9px 14px;
  background: var(--soft); border-bottom: 1px solid var(--line); white-space: nowrap; }
th[title]:not([title=""]) { cursor: help; }
th.num { text-align: right; }
td { padding: 9px 14px 7px; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover { background: var(--hover); }
td.first { font-weight: 600; white-space: normal; overflow-wrap: anywhere; min-width: 170px; max-width: 320px; }
td.first > div { display: flex; gap: 10px; }
td.first .swatch { margin-top: 9px; }
.more { font-size: 12px; line-height: 1.3; }
@media (max-width: 900px) { .verdicts { grid-template-columns: 1fr; } }
`;
