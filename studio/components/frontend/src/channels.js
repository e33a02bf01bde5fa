// What tokens can be coloured by, and the colours: orange above, blue below, told apart by every kind
// of colour vision.

/** `value(pass, trace, i)` is the number; `strength` maps it to full colour at 1 (tokens.py has the
 * same scales for the overview). */
export const CHANNELS = [
  { key: "logp", label: "log-prob", value: (pass, trace, i) => pass.logp[i], strength: (v) => -v / 5,
    about: "How likely the policy found the token, in nats. The stronger, the more surprising; e⁻⁵ and below is full colour." },
  { key: "entropy", label: "entropy", value: (pass, trace, i) => pass.entropy[i], strength: (v) => v / 2,
    about: "How undecided the policy was before the token, in nats. 2 and above is full colour." },
  { key: "kl", label: "KL", long: "log π/π_ref", value: (pass, trace, i) => pass.kl[i], strength: (v) => v / 1.5,
    about: "log π − log π_ref: orange where the policy likes the token more than the reference does, blue where less." },
  { key: "ratio", label: "ratio", value: (pass, trace, i) => pass.ratio[i], strength: (v) => (v - 1) / 0.2,
    about: "π / π_old, 1 until the first optimizer step of the update; of the whole completion where the algorithm takes that. Underlined: beyond the clip." },
  { key: "loss", label: "share of loss", value: (pass, trace, i) => pass.loss[i], strength: (v, most) => (most ? v / most : 0),
    about: "The token's share of the step's loss, weight included: blue pulls the loss down, orange up." },
  { key: "advantage", label: "advantage", value: (pass, trace, i) => pass.advantage[i], strength: (v) => v / 2,
    about: "What the token was worth. One number for the whole completion, unless a critic, prefix attention or a correction for the engine gives each token its own." },
];

export function channelOf(key) {
  return CHANNELS.find((channel) => channel.key === key) ?? null;
}

/** A translucent CSS colour for -1 … 1. */
export function shade(strength, full = 62) {
  const part = Math.round(full * Math.max(-1, Math.min(1, strength)));
  if (!part) return "";
  const name = part > 0 ? "--st-orange-color" : "--st-blue-color";
  return `color-mix(in srgb, var(${name}) ${Math.abs(part)}%, transparent)`;
}

/** A setting of the theme. */
export function css(node, name) {
  return getComputedStyle(node).getPropertyValue(name).trim();
}

/** `rgb` of a theme colour. */
function rgb(node, name) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = css(node, name) || "#888";
  const text = context.fillStyle; // always #rrggbb here
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

/** 255 colours for a strip's bytes -127 … 127, over the background of an empty token. */
export function ramp(node) {
  const [above, below, empty] = ["--st-orange-color", "--st-blue-color", "--st-gray-background-color"].map((name) => rgb(node, name));
  return Array.from({ length: 255 }, (_, index) => {
    const strength = (index - 127) / 127;
    const full = strength > 0 ? above : below;
    const mixed = empty.map((value, c) => Math.round(value + (full[c] - value) * Math.abs(strength)));
    return `rgb(${mixed.join()})`;
  });
}

/** The answer of the strips route: for each completion its length, clipped tokens and channels. */
export function readStrips(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const found = new Map();
  found.most = header.most;
  let at = 4 + size;
  for (const { id, num, clipped } of header.rollouts) {
    const channels = {};
    for (const key of header.channels) {
      channels[key] = new Int8Array(buffer, at, num);
      at += num;
    }
    found.set(id, { num, clipped, channels });
  }
  return found;
}

/** One completion's tokens on a canvas: `share` of its width is filled, to the scale of its length. */
export function drawStrip(canvas, strip, key, share, colors) {
  const ratio = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const filled = Math.max(2, Math.round(width * share));
  context.fillStyle = colors[127];
  context.fillRect(0, 0, filled, height);
  const bytes = strip && key ? strip.channels[key] : null;
  if (!bytes?.length) return;
  for (let x = 0; x < filled; x += 1) {
    const low = Math.floor((x * bytes.length) / filled);
    const high = Math.max(low + 1, Math.floor(((x + 1) * bytes.length) / filled));
    let strongest = 0; // of several tokens on a pixel the strongest shows
    for (let i = low; i < high; i += 1) if (Math.abs(bytes[i]) > Math.abs(strongest)) strongest = bytes[i];
    if (!strongest) continue;
    context.fillStyle = colors[strongest + 127];
    context.fillRect(x, 0, 1, height);
  }
}
