// What every part of the page builds with: templates, icons, words.

import { h } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

export const html = htm.bind(h);

const ICONS = new URL("./vendor/icons.svg", import.meta.url).href;

/** An icon of the sprite; it says nothing that the words beside it do not. */
export function Icon({ name }) {
  return html`<svg class="icon" aria-hidden="true" focusable="false"><use href=${`${ICONS}#${name}`} /></svg>`;
}

/** Product text of the catalogue, taken apart; a text of another form is all name. */
export function productOf(id, text) {
  const parts = /^Product: (.*)\. Aisle: (.*?)\. Department: (.*)\.$/s.exec(text);
  return parts
    ? { product_id: id, name: parts[1], aisle: parts[2], department: parts[3] }
    : { product_id: id, name: text, aisle: "", department: "" };
}

/** Where a product stands, in a few words. */
export function placeOf({ aisle, department }) {
  return aisle.toLowerCase() === department.toLowerCase() ? aisle : [aisle, department].filter(Boolean).join(" · ");
}

export const whole = (number) => number.toLocaleString("en");

/** "1 order", "3 orders". */
export const counted = (number, word) => `${whole(number)} ${word}${number === 1 ? "" : "s"}`;

/** Milliseconds, as exact as they are worth. */
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ms`;
}

/** "today", "1 day before", "3 weeks before": before the order to come. */
export function daysBefore(days) {
  const number = Math.round(days);
  return number === 0 ? "the same day" : `${counted(number, "day")} before`;
}
