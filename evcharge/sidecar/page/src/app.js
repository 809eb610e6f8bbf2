/** What every page gets: who asks, what is live, where to go, and how to be drawn again. */

/** @import { Api } from "./core/api.js" */
/** @import { Live } from "./core/live.js" */
/** @import { Place } from "./core/router.js" */
/** @import { Page } from "./core/types.js" */

/**
 * @typedef {object} App
 * @property {Api} api
 * @property {Live} live
 * @property {() => void} update draw with the next frame
 * @property {(to: string) => void} go
 * @property {(to: string) => void} replace the same page with another query
 */

/** @typedef {(app: App, place: () => Place) => Page} Opener */

export {};
