// Copies what the page imports from node_modules into vendor/: the folder that is served, and that the wheel contains.
// `make page` runs it after `npm ci`; the files are as their packages publish them.

import { copyFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const page = dirname(fileURLToPath(import.meta.url));
const vendor = join(page, "vendor");

/** @type {(from: string, to: string) => void} */
function copy(from, to) {
  const target = join(vendor, to);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(join(page, "node_modules", from), target);
}

/** Modules and the types that tsc reads beside them. */
const MODULE = /^[a-z-]+\.(js|d\.ts)$/;
/** For servers, for old browsers, and all that makes markup out of a string: what is not served cannot be imported. */
const UNUSED = /^(is-server|polyfill-support|private-ssr-support|static|unsafe-[a-z]+)\./;

rmSync(vendor, { recursive: true, force: true });
for (const folder of ["lit-html", "lit-html/directives"]) {
  for (const name of readdirSync(join(page, "node_modules", folder))) {
    if (MODULE.test(name) && !UNUSED.test(name)) copy(`${folder}/${name}`, `${folder}/${name}`);
  }
}
copy("lit-html/LICENSE", "lit-html/LICENSE");
copy("uplot/dist/uPlot.esm.js", "uplot/uPlot.esm.js");
copy("uplot/dist/uPlot.d.ts", "uplot/uPlot.esm.d.ts");
copy("uplot/dist/uPlot.min.css", "uplot/uPlot.min.css");
copy("uplot/LICENSE", "uplot/LICENSE");
