/** What an address shows that is none. */

import { html } from "../core/html.js";
import { plain } from "../parts/text.js";

/** @import { Opener } from "../app.js" */

/** @type {Opener} */
export function missingPage(_app, place) {
  return {
    title: "Not found",
    view: () => html`<div class="page narrow"><h1>There is no such page</h1>
      <p class="lead">Nothing of the site has the address <code>${plain(place().path)}</code>. <a href="/ui/">Go to the overview</a>.</p></div>`,
  };
}
