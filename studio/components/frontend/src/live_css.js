export const LIVE_CSS = `
.head { display: flex; align-items: center; gap: 14px; min-height: 36px; }
.head .progress { font-weight: 600; white-space: nowrap; min-width: 9.5em; }
.head .bar { flex: 1; min-width: 60px; }
.head .detail { white-space: nowrap; min-width: 17em; }
.head .badge { min-width: 96px; }
.head .buttons { display: flex; gap: 6px; }
.head .buttons button { min-width: 88px; }
.alert { margin-top: 10px; }
.tiles { display: grid; grid-template-columns: repeat(6, 1fr); gap: 10px; margin: 14px 0 10px; }
.tile { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 14px 9px; min-width: 0; }
.tile .label { font-size: 12.5px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.tile .value { font-size: 24px; font-weight: 600; line-height: 1.35; letter-spacing: -.01em; white-space: nowrap; }
.tile .note { font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.tools { display: flex; align-items: center; gap: 14px; min-height: 34px; margin-bottom: 6px; font-size: 12.5px; }
.tools .hint { margin-left: auto; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.tools .age { white-space: nowrap; min-width: 8.5em; text-align: right; }
.tools .hover { font-weight: 600; min-width: 6em; }
.tools button { padding: 2px 10px; font-size: 12.5px; }
.smoothing { display: inline-flex; align-items: center; gap: 8px; }
.smoothing input { appearance: none; background: none; width: 120px; height: 16px; margin: 0; cursor: pointer; }
.smoothing input::-webkit-slider-runnable-track { height: 4px; border-radius: 2px; background: var(--line); }
.smoothing input::-moz-range-track { height: 4px; border-radius: 2px; background: var(--line); }
.smoothing input::-webkit-slider-thumb { appearance: none; width: 14px; height: 14px; margin-top: -5px; border-radius: 50%;
  background: var(--st-primary-color); }
.smoothing input::-moz-range-thumb { width: 14px; height: 14px; border: 0; border-radius: 50%; background: var(--st-primary-color); }
.grid { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px; }
.card { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 12px 6px; min-width: 0; }
.card header { display: flex; align-items: baseline; gap: 12px; height: 22px; overflow: hidden; }
.card h4 { margin: 0; font-size: 13.5px; font-weight: 600; white-space: nowrap; }
.legend { margin-left: auto; display: flex; gap: 9px; font-size: 12px; color: var(--faint); white-space: nowrap; overflow: hidden; }
.legend .item { display: inline-flex; align-items: center; gap: 4px; }
.legend b { color: var(--st-text-color); font-weight: 600; }
.dot { width: 8px; height: 8px; border-radius: 2px; flex: none; }
.plot { height: 184px; overflow: hidden; }
.plot .u-over { cursor: crosshair; }
.plot .u-select { background: color-mix(in srgb, var(--st-primary-color) 14%, transparent); }
.plot .u-cursor-x { border-right: 1px solid var(--faint); }
.uplot { font-family: inherit; }
.empty { color: var(--faint); padding: 0 0 10px; }
.events { list-style: none; margin: 0; padding: 0 0 6px; }
.events li { display: grid; grid-template-columns: 76px 118px 1fr auto; gap: 12px; padding: 5px 0; border-top: 1px solid var(--line); font-size: 13px; }
.events li:first-child { border-top: 0; }
.events .text { overflow-wrap: anywhere; white-space: pre-wrap; }
.events li[data-tone=bad] b { color: var(--st-red-text-color); }
.events li[data-tone=warn] b { color: var(--st-orange-text-color); }
.events li[data-tone=mark] b { color: var(--st-violet-text-color); }
.grid + section.card { margin-top: 10px; }
@media (max-width: 1150px) { .grid { grid-template-columns: repeat(2, minmax(0, 1fr)); } .tiles { grid-template-columns: repeat(3, 1fr); } .head .detail { display: none; } .tools .hint { display: none; } .tools .age { margin-left: auto; } }
@media (max-width: 720px) { .grid { grid-template-columns: 1fr; } .tiles { grid-template-columns: repeat(2, 1fr); } .head { flex-wrap: wrap; } }
`;
