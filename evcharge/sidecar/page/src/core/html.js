/** The one door to the template library. Every value in a template is text: nothing that was sent can become markup. */

export { html, nothing, render, svg } from "../../vendor/lit-html/lit-html.js";
export { keyed } from "../../vendor/lit-html/directives/keyed.js";
export { ref } from "../../vendor/lit-html/directives/ref.js";
export { repeat } from "../../vendor/lit-html/directives/repeat.js";
export { live } from "../../vendor/lit-html/directives/live.js";
