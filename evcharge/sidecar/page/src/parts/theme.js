/** Light and dark: as the system says, until somebody chooses; the choice stays in this browser. */

const PLACE = "evcharge.theme";

/** @typedef {"light" | "dark"} Theme */

/** @returns {Theme} */
export function theme() {
  const chosen = document.documentElement.dataset["theme"];
  if (chosen === "light" || chosen === "dark") return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export function restoreTheme() {
  let kept = null;
  try {
    kept = localStorage.getItem(PLACE);
  } catch {
    // Forbidden storage: as the system says.
  }
  if (kept === "light" || kept === "dark") document.documentElement.dataset["theme"] = kept;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", told);
}

export function switchTheme() {
  const next = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset["theme"] = next;
  try {
    localStorage.setItem(PLACE, next);
  } catch {
    // Forbidden storage: it holds until the page is left.
  }
  told();
}

function told() {
  window.dispatchEvent(new Event("evcharge-theme"));
}

/**
 * A colour of tokens.css as a canvas understands it.
 * @param {string} token such as `--free`
 * @param {number} [alpha]
 */
export function colour(token, alpha = 1) {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return alpha === 1 ? found : found.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
}
