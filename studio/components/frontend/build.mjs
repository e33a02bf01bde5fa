// Bundles each component into one file of ../built/ and collects the licences of what is inside.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync, existsSync } from "node:fs";
import { join } from "node:path";

const names = ["bars", "compare", "editor", "inspector", "live", "pairs", "runs", "shares", "versus"];
const result = await build({
  entryPoints: names.map((name) => `src/${name}.js`),
  outdir: "../built",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  loader: { ".css": "text" },
  metafile: true,
  logLevel: "info",
});

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const match = input.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//);
  if (match) packages.add(match[1]);
}
const texts = [...packages].sort().map((name) => {
  const folder = join("node_modules", name);
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file || !existsSync(join(folder, file))) throw new Error(`${name}: no licence text`);
  const version = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).version;
  return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
});
const rule = "-".repeat(80);
writeFileSync(
  "../built/LICENSES.txt",
  `The built scripts contain these packages.\n\n${rule}\n${texts.join(`\n${rule}\n`)}`,
);

// A test compares this with the sources: a change that nobody built is noticed without npm.
const sources = [...readdirSync("src").sort().map((file) => join("src", file)), "package-lock.json"];
const hash = createHash("sha256");
for (const file of sources) hash.update(readFileSync(file));
writeFileSync("../built/sources.sha256", `${hash.digest("hex")}\n`);
