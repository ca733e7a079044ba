// What a user has bought: orders on a line of time, and one by one.

import { useState } from "./vendor/hooks.mjs";
import { counted, daysBefore, html } from "./html.mjs";

const WIDTH = 340;
const HEIGHT = 78;
const LEFT = 12;
const RIGHT = 318;
const LINE = 40;
const SHOWN = matchMedia("(min-width: 820px)").matches ? 3 : 1; // orders, until all are asked for
const NAMES = 8; // of a order, until it is opened

export function History({ user, lit }) {
  const [isWhole, setWhole] = useState(false);
  if (!user) {
    return html`<div class="bones" aria-hidden="true">
      <div class="bone"></div><div class="bone tall"></div><div class="bone tall"></div>
    </div>`;
  }
  const orders = user.orders;
  if (!orders.length) return html`<p class="empty">No past order of this user is known.</p>`;
  const times = timesBought(orders);
  const newest = [...orders].reverse();
  return html`
    <h3>${counted(orders.length, "past order")}</h3>
    <${Timeline} orders=${orders} lit=${lit} />
    <ol class="orders">
      ${(isWhole ? newest : newest.slice(0, SHOWN)).map(
        (order, row) => html`<${Order} key=${row} order=${order} times=${times} lit=${lit} />`,
      )}
    </ol>
    ${newest.length > SHOWN &&
    html`<button type="button" class="plain" aria-expanded=${isWhole} onClick=${() => setWhole(!isWhole)}>
      ${isWhole ? "Show the newest alone" : `Show all ${newest.length} orders`}
    </button>`}`;
}

/** In how many orders each product is. */
export function timesBought(orders) {
  const times = new Map();
  for (const order of orders) {
    for (const id of new Set(order.products.map((item) => item.product_id))) times.set(id, (times.get(id) ?? 0) + 1);
  }
  return times;
}

function Timeline({ orders, lit }) {
  const longest = Math.max(...orders.map((order) => order.days_ago), 1);
  const largest = Math.max(...orders.map((order) => order.products.length));
  const widest = Math.max(4, Math.min(9, (RIGHT - LEFT) / orders.length / 1.4)); // so that many stay apart
  const place = (days) => RIGHT - ((RIGHT - LEFT) * days) / longest;
  const holds = (order) => lit !== null && order.products.some((item) => item.product_id === lit);
  const words = `Orders from ${daysBefore(longest)} to ${daysBefore(orders.at(-1).days_ago)} the next order`;
  return html`
    <svg class="timeline" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${words.replaceAll(" before", "")}>
      <line x1=${LEFT} x2=${RIGHT} y1=${LINE} y2=${LINE} />
      ${orders.map(
        (order, row) => html`<circle key=${row} class=${holds(order) ? "lit" : ""} cx=${place(order.days_ago)} cy=${LINE}
          r=${2 + (widest - 2) * Math.sqrt(order.products.length / largest)} />`,
      )}
      <path class="next" d=${`M${RIGHT} ${LINE - 9}l9 9-9 9-9-9z`} />
      <text x=${LEFT - 8} y=${HEIGHT - 6}>${daysBefore(longest).replace(" before", " ago")}</text>
      <text x=${WIDTH - 2} y=${HEIGHT - 6} text-anchor="end">next order</text>
    </svg>`;
}

function Order({ order, times, lit }) {
  const [isOpen, setOpen] = useState(false);
  const products = isOpen ? order.products : order.products.slice(0, NAMES);
  const left = order.products.length - products.length;
  return html`
    <li>
      <p class="when"><strong>${daysBefore(order.days_ago)}</strong>
        <span class="quiet">${counted(order.products.length, "product")}</span></p>
      <ul class="names">
        ${products.map((item, row) => {
          const often = times.get(item.product_id);
          return html`<li key=${row} class=${`${often > 1 ? "again" : ""} ${item.product_id === lit ? "lit" : ""}`}>
            ${item.name}${often > 1 && html`<span class="often"><span aria-hidden="true">×${often}</span>
              <span class="unseen">in ${often} orders</span></span>`}
          </li>`;
        })}
        ${left > 0 &&
        html`<li key="more" class="more"><button type="button" class="plain" onClick=${() => setOpen(true)}>${left} more</button></li>`}
      </ul>
    </li>`;
}
