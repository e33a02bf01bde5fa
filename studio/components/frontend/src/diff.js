// What one text says that another does not, word by word: the longest common subsequence.

const SEGMENTER = new Intl.Segmenter("en", { granularity: "word" }); // also of languages without spaces
const MAX_CELLS = 6_000_000; // of the table: about 12 MB for a moment

/** Words with the space that follows them. */
export function words(text) {
  const found = [];
  for (const { segment } of SEGMENTER.segment(text)) {
    if (found.length && !segment.trim()) found[found.length - 1] += segment;
    else found.push(segment);
  }
  return found;
}

/** Space after a word makes no other word of it. */
const same = (one, other) => one === other || one.trim() === other.trim();

/** `[{kind: "same" | "added" | "gone", text}]` that leads from `from` to `to`; null where they are too
 * long to compare. */
export function diff(from, to) {
  const a = words(from), b = words(to);
  let head = 0, tail = 0;
  while (head < a.length && head < b.length && same(a[head], b[head])) head += 1;
  while (tail < a.length - head && tail < b.length - head && same(a.at(-1 - tail), b.at(-1 - tail))) tail += 1;
  const left = a.slice(head, a.length - tail), right = b.slice(head, b.length - tail);
  if ((left.length + 1) * (right.length + 1) > MAX_CELLS) return null;
  const parts = [];
  push(parts, "same", b.slice(0, head));
  middle(parts, left, right);
  push(parts, "same", tail ? b.slice(-tail) : []);
  return parts;
}

function middle(parts, left, right) {
  const width = right.length + 1;
  const lengths = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = same(left[i], right[j])
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  let i = 0, j = 0;
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && same(left[i], right[j])) {
      push(parts, "same", [right[j]]);
      i += 1;
      j += 1;
    } else if (j >= right.length || (i < left.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      push(parts, "gone", [left[i]]);
      i += 1;
    } else {
      push(parts, "added", [right[j]]);
      j += 1;
    }
  }
}

function push(parts, kind, texts) {
  if (!texts.length) return;
  const text = texts.join("");
  if (parts.at(-1)?.kind === kind) parts.at(-1).text += text;
  else parts.push({ kind, text });
}
