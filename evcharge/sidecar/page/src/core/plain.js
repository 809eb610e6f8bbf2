/**
 * Text of strangers as text alone: control, zero-width and bidi characters are made visible, so that they can neither
 * hide nor reorder what stands around them; and it has an end.
 */

/** Characters that are put into the page at most; ids have 64. */
const LONGEST = 300;

// C0 and C1 controls, zero width, bidi marks and overrides, line separators, tags, and lone surrogates.
const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Cs}/gu;

/** @param {string} character */
function symbol(character) {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
}

/**
 * The text with everything visible that would act or hide, and an end.
 * @param {unknown} text
 * @param {number} [longest]
 */
export function plain(text, longest = LONGEST) {
  const said = String(text ?? "");
  const short = said.length > longest ? `${said.slice(0, longest)}…` : said;
  return short.replace(UNSEEN, symbol);
}
