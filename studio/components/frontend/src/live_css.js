export const LIVE_CSS = `
.head { display: flex; align-items: center; gap: 14px; min-height: 36px; }
.head .progress { font-weight: 600; white-space: nowrap; min-width: 9.5em; }
.head .bar { flex: 1; min-width: 60px; }
.head .detail { white-space: nowrap; min-width: 17em; }
.head .badge { min-width: 96px; }
.head .buttons { display: flex; gap: 6px; }
.head .buttons button { min-width: 88px; }
.alert { margin-top: 10px; }
.tiles { display: grid; grid-template-columns: repeat(6, 1fr); gap: 10px; margin: 14px 0 8px; }
.tile { border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 14px 9px; min-width: 0; }
.tile .label { font-size: 12.5px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.tile .value { font-size: 24px; font-weight: 600; line-height: 1.35; letter-spacing: -.01em; white-space: nowrap; }
.tile .note { font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.gauges { display: flex; align-items: center; gap: 4px 18px; flex-wrap: wrap; font-size: 12px; min-height: 22px; margin-bottom: 6px; }
.gauges .readings { display: contents; }
.gauge { display: inline-flex; align-items: center; gap: 7px; white-space: nowrap; }
.gauge b { font-weight: 600; color: var(--st-text-color); }
.gauge:first-child b { min-width: 3.2em; }
.meter { width: 44px; height: 4px; border-radius: 2px; background: var(--line); overflow: hidden; flex: none; }
.meter i { display: block; height: 100%; background: var(--faint); border-radius: 2px; transition: width .4s ease-out; }
.tools { display: flex; align-items: center; gap: 8px 14px; flex-wrap: wrap; min-height: 34px; margin-bottom: 8px; font-size: 12.5px;
  position: sticky; top: 54px; z-index: 5; background: var(--panel); padding: 4px 0; }
.tools button { padding: 2px 10px; font-size: 12.5px; }
.tools .age { white-space: nowrap; min-width: 9em; text-align: right; margin-left: auto; }
.tools .hover { font-weight: 600; min-width: 6em; white-space: nowrap; }
.tools .help { padding: 2px 9px; }
.tools [aria-pressed=true] { color: var(--st-primary-color); border-color: var(--st-primary-color);
  background: color-mix(in srgb, var(--st-primary-color) 9%, var(--panel)); }
.toggles { display: inline-flex; gap: 6px; flex-wrap: wrap; }
.segments { display: inline-flex; }
.segments button { border-radius: 0; margin-left: -1px; }
.segments button:first-child { border-radius: var(--st-button-radius) 0 0 var(--st-button-radius); margin-left: 0; }
.segments button:last-child { border-radius: 0 var(--st-button-radius) var(--st-button-radius) 0; }
.segments [aria-pressed=true] { position: relative; z-index: 1; }
.search { position: relative; display: inline-flex; }
.search input { font: inherit; color: inherit; width: 172px; padding: 3px 9px; border: 1px solid var(--line); background: var(--panel);
  border-radius: var(--st-button-radius); }
.search input[aria-invalid=true] { border-color: var(--st-red-color); }
.search .wrong { position: absolute; top: calc(100% + 3px); left: 2px; color: var(--st-red-text-color); font-size: 11.5px; white-space: nowrap; background: var(--panel); }
.smoothing { display: inline-flex; align-items: center; gap: 8px; }
.smoothing .num { min-width: 2.2em; }
.smoothing input { appearance: none; background: none; width: 110px; height: 16px; margin: 0; cursor: pointer; }
.smoothing input::-webkit-slider-runnable-track { height: 4px; border-radius: 2px; background: var(--line); }
.smoothing input::-moz-range-track { height: 4px; border-radius: 2px; background: var(--line); }
.smoothing input::-webkit-slider-thumb { appearance: none; width: 14px; height: 14px; margin-top: -5px; border-radius: 50%;
  background: var(--st-primary-color); }
.smoothing input::-moz-range-thumb { width: 14px; height: 14px; border: 0; border-radius: 50%; background: var(--st-primary-color); }
.part { margin-bottom: 12px; }
.part h3 { margin: 0 0 6px; font-size: 13px; font-weight: 600; line-height: 1.6; }
.part .name { color: var(--faint); }
.fold { display: flex; align-items: center; gap: 8px; width: 100%; border: 0; border-top: 1px solid var(--line); border-radius: 0;
  padding: 7px 2px 5px; font-size: 13px; font-weight: 600; text-align: left; background: none; }
.fold .num { font-weight: 400; }
.arrow { width: 7px; height: 7px; border: solid var(--faint); border-width: 0 1.5px 1.5px 0; transform: rotate(-45deg); transition: transform .12s; margin: 0 4px 0 2px; }
.fold[aria-expanded=true] .arrow { transform: rotate(45deg) translate(-1px, -1px); }
.none { padding: 12px 0; }
.grid { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px; }
.grid[hidden] { display: none; }
.card { position: relative; border: 1px solid var(--line); border-radius: var(--st-base-radius); padding: 10px 12px 6px; min-width: 0; background: var(--panel); }
.card:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
.card header { display: flex; align-items: center; gap: 10px; height: 22px; }
.card h4 { margin: 0; font-size: 13.5px; font-weight: 600; min-width: 0; flex: 0 1 auto; display: flex; }
.title { border: 0; background: none; padding: 0; font: inherit; overflow: hidden; text-overflow: ellipsis; border-radius: 3px; }
.title::after { content: "?"; margin-left: 6px; font-size: 11px; font-weight: 600; color: var(--faint); opacity: 0; transition: opacity .12s; }
.card:hover .title::after, .title:focus-visible::after { opacity: .8; }
.title:hover:not(:disabled) { text-decoration: underline dotted; text-underline-offset: 3px; }
.legend { flex: 1 1 0; min-width: 40%; display: flex; gap: 10px; font-size: 12px; color: var(--faint); white-space: nowrap; overflow: hidden; }
.legend .item:first-child { margin-left: auto; }
.legend .item { display: inline-flex; align-items: center; gap: 4px; flex: none; max-width: 100%; }
.legend .item[hidden] { display: none; }
.legend .label { overflow: hidden; text-overflow: ellipsis; max-width: 150px; }
.legend b { color: var(--st-text-color); font-weight: 600; }
.rest { padding: 0 6px; font-size: 11.5px; line-height: 1.5; }
.menu { position: absolute; top: 33px; right: 8px; z-index: 3; padding: 0 8px; line-height: 12px; height: 16px; border-radius: 5px; opacity: 0; }
.card:hover .menu, .card:focus-within .menu, .menu[aria-expanded=true] { opacity: 1; }
@media (hover: none) { .menu { opacity: .7; } }
.dot { width: 10px; height: 8px; border-radius: 2px; flex: none; }
.plot { height: 184px; overflow: hidden; }
.plot .u-over { cursor: crosshair; }
.plot .u-select { background: color-mix(in srgb, var(--st-primary-color) 14%, transparent); }
.plot .u-cursor-x { border-right: 1px solid var(--faint); }
.uplot { font-family: inherit; }
.left-out { position: absolute; left: 70px; bottom: 32px; font-size: 11.5px; padding: 0 5px; border-radius: 3px; pointer-events: none;
  background: color-mix(in srgb, var(--panel) 85%, transparent); }
.left-out[hidden] { display: none; }
.tip { position: absolute; top: 52px; z-index: 4; max-width: min(320px, 70%); pointer-events: none; padding: 5px 9px; font-size: 12px; line-height: 1.4;
  background: var(--panel); border: 1px solid var(--line); border-radius: 6px; box-shadow: 0 2px 10px rgb(0 0 0 / .12); overflow-wrap: anywhere; }
.tip[hidden] { display: none; }
.card:fullscreen { padding: 16px 20px; background: var(--st-background-color); }
.card:fullscreen .plot { height: auto; }
.card:fullscreen .menu { top: 44px; right: 22px; }
.card:fullscreen .legend .label { max-width: none; }
.pop { position: fixed; inset: auto; margin: 0; padding: 12px 16px; max-width: min(440px, calc(100vw - 16px)); max-height: min(560px, calc(100vh - 16px)); overflow: auto;
  font-size: 13px; line-height: 1.5; color: var(--st-text-color); background: var(--panel); border: 1px solid var(--line);
  border-radius: var(--st-base-radius); box-shadow: 0 6px 28px rgb(0 0 0 / .18); }
.pop:focus { outline: none; }
.pop h4 { margin: 0 0 4px; font-size: 14px; font-weight: 600; }
.pop p { margin: 0 0 8px; }
.pop .question { margin: 10px 0 1px; font-weight: 600; }
.pop [hidden] { display: none; }
.pop .own { padding: 6px 10px; border-radius: 6px; background: var(--soft); }
.pop .names { margin: 10px 0 0; font-size: 12px; font-family: var(--st-code-font), monospace; overflow-wrap: anywhere; }
.menu-items { display: flex; flex-direction: column; margin: -6px -10px; min-width: 190px; }
.menu-items button { border: 0; display: flex; justify-content: space-between; gap: 16px; padding: 5px 10px; font-size: 13px; border-radius: 5px; background: none; }
.menu-items button:hover:not(:disabled), .menu-items button:focus-visible { background: var(--hover); }
.all-items { display: grid; gap: 4px; }
.all-items div { display: grid; grid-template-columns: auto 1fr auto; gap: 8px; align-items: center; font-size: 12.5px; }
.keys { border-collapse: collapse; margin: 6px 0 10px; }
.keys th { text-align: left; padding: 2px 18px 2px 0; white-space: nowrap; }
.keys td { padding: 2px 0; }
kbd { display: inline-block; min-width: 22px; text-align: center; padding: 0 5px; margin-right: 4px; font: 600 12px var(--st-code-font), monospace;
  border: 1px solid var(--line); border-bottom-width: 2px; border-radius: 4px; background: var(--soft); }
.empty { color: var(--faint); padding: 0 0 10px; }
.events { list-style: none; margin: 0; padding: 0 0 6px; }
.events li { display: grid; grid-template-columns: 76px 118px 1fr auto; gap: 12px; padding: 5px 0; border-top: 1px solid var(--line); font-size: 13px; }
.events li:first-child { border-top: 0; }
.events .text { overflow-wrap: anywhere; white-space: pre-wrap; }
.events li[data-tone=bad] b, .tip [data-tone=bad] b { color: var(--st-red-text-color); }
.events li[data-tone=warn] b, .tip [data-tone=warn] b { color: var(--st-orange-text-color); }
.events li[data-tone=mark] b, .tip [data-tone=mark] b { color: var(--st-violet-text-color); }
@media (max-width: 1150px) { .grid { grid-template-columns: repeat(2, minmax(0, 1fr)); } .tiles { grid-template-columns: repeat(3, 1fr); } .head { flex-wrap: wrap; gap: 6px 14px; } .head .detail { order: 1; flex-basis: 100%; min-height: 1.5em; } }
@media (max-width: 720px) { .grid { grid-template-columns: 1fr; } .tiles { grid-template-columns: repeat(2, 1fr); } .head { flex-wrap: wrap; } }
`;
