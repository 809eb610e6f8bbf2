/** Addresses below /ui/ without a reload: links stay plain links, so that they can be copied, opened and bookmarked. */

/** @typedef {{ path: string, params: Record<string, string>, query: URLSearchParams }} Place */

/**
 * @template T
 * @typedef {{ pattern: string, page: T }} Route
 */

const ROOT = "/ui/";

/**
 * @template T
 * @param {Route<T>[]} routes patterns such as `sessions/:id`
 * @param {URL} url
 * @returns {{ page: T | null, place: Place }} null: there is no such page
 */
export function match(routes, url) {
  const words = url.pathname
    .slice(ROOT.length)
    .split("/")
    .filter((word) => word !== "");
  const place = { path: url.pathname, params: /** @type {Record<string, string>} */ ({}), query: url.searchParams };
  for (const { pattern, page } of routes) {
    const parts = pattern.split("/").filter((part) => part !== "");
    if (parts.length !== words.length) continue;
    /** @type {Record<string, string>} */
    const params = {};
    const fits = parts.every((part, n) => {
      const word = words[n] ?? "";
      if (!part.startsWith(":")) return part === word;
      const name = decoded(word);
      if (name !== null) params[part.slice(1)] = name;
      return name !== null;
    });
    if (fits) return { page, place: { ...place, params } };
  }
  return { page: null, place };
}

/** @param {string} word */
function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return null;
  }
}

/**
 * The address of a page.
 * @param {string[]} words
 */
export function href(...words) {
  return ROOT + words.map(encodeURIComponent).join("/");
}

export class Router {
  #show;

  /** @param {(url: URL, moved: boolean) => void} show `moved`: to another page, not only to another query */
  constructor(show) {
    this.#show = show;
    window.addEventListener("popstate", () => this.#show(new URL(location.href), true));
    document.addEventListener("click", (event) => this.#click(event));
  }

  /** @param {string} to */
  go(to) {
    const url = new URL(to, location.href);
    const moved = url.pathname !== location.pathname;
    history.pushState(null, "", url);
    this.#show(url, moved);
  }

  /**
   * The same page with another query; Back does not stop at each letter of a filter.
   * @param {string} to
   */
  replace(to) {
    history.replaceState(null, "", new URL(to, location.href));
    this.#show(new URL(location.href), false);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!(link instanceof HTMLAnchorElement) || link.target !== "" || link.hasAttribute("download")) return;
    if (
      link.origin !== location.origin ||
      !link.pathname.startsWith(ROOT) ||
      link.pathname.startsWith(`${ROOT}assets/`)
    )
      return;
    // Within the page: the skip link.
    if (link.hash !== "" && link.pathname === location.pathname) return;
    event.preventDefault();
    this.go(link.href);
  }
}
