// A history of one's own: products found by typing, put into orders some days apart.

import { useEffect, useRef, useState } from "./vendor/hooks.mjs";
import Combobox from "./vendor/combobox-nav.mjs";
import { call } from "./api.mjs";
import { counted, html, Icon, placeOf } from "./html.mjs";

const TYPING_MS = 120;
const SHORTEST = 2; // letters
const USUAL_GAP = 7; // days

/** Built orders as /recommend takes them, and with their ages; empty ones are left out. */
export function requestOf(orders) {
  const filled = orders.filter((order) => order.products.length);
  const history = filled.map(({ products, gap }, row) => ({
    product_ids: products.map((item) => item.product_id),
    days_since_prior_order: row === 0 ? null : gap ?? USUAL_GAP,
  }));
  let age = USUAL_GAP;
  const aged = filled.toReversed().map(({ products, gap }) => {
    const order = { products, days_ago: age };
    age += gap ?? USUAL_GAP;
    return order;
  });
  return { history, orders: aged.toReversed() };
}

export function Builder({ orders, change, say }) {
  const newest = orders.length - 1;
  const add = (product) => {
    const has = orders[newest].products.some((item) => item.product_id === product.product_id);
    if (!has) change(with_(orders, newest, { products: [...orders[newest].products, product] }));
    say(has ? `${product.name} is in this order already.` : `${product.name} is in the order.`);
  };
  const remove = (row, product) => {
    change(with_(orders, row, { products: orders[row].products.filter((item) => item !== product) }));
    say(`${product.name} is taken out.`);
  };
  const begin = () => {
    change([...orders, { gap: USUAL_GAP, products: [] }]);
    say("A new order, a week later.");
  };
  const clear = () => change([{ gap: null, products: [] }]);
  return html`
    <${Search} add=${add} />
    <ol class="orders" reversed>
      ${orders.map((order, row) => html`<li key=${row}>
        <p class="when"><strong>Order ${row + 1}</strong>
          ${row > 0 && html`<label class="gap">
            <input type="number" min="1" max="365" value=${order.gap} aria-label=${`Days between order ${row} and order ${row + 1}`}
              onChange=${(changed) => change(with_(orders, row, { gap: Math.min(365, Math.max(1, Math.round(Number(changed.target.value)) || USUAL_GAP)) }))} />
            ${order.gap === 1 ? "day" : "days"} later</label>`}
          ${row === 0 && html`<span class="quiet">${counted(order.products.length, "product")}</span>`}</p>
        ${order.products.length === 0 && html`<p class="empty">Nothing in it yet: search above.</p>`}
        <ul class="names">
          ${order.products.map((item) => html`<li key=${item.product_id} class="removable">${item.name}
            <button type="button" class="plain" aria-label=${`Take ${item.name} out of order ${row + 1}`} onClick=${() => remove(row, item)}>
              <${Icon} name="x" /></button></li>`)}
        </ul>
      </li>`).toReversed()}
    </ol>
    <div class="row">
      <button type="button" onClick=${begin} disabled=${!orders[newest].products.length}>
        <${Icon} name="shopping-basket" />Next order</button>
      ${orders.some((order) => order.products.length) &&
      html`<button type="button" class="plain" onClick=${clear}>Empty all</button>`}
    </div>`;
}

function with_(orders, row, changes) {
  return orders.map((order, number) => (number === row ? { ...order, ...changes } : order));
}

/** A type-ahead: arrows choose, Enter takes, Escape closes. */
function Search({ add }) {
  const input = useRef(null);
  const list = useRef(null);
  const combobox = useRef(null);
  const asked = useRef(null);
  const [found, setFound] = useState(null);
  const [failed, setFailed] = useState("");
  const isOpen = found !== null && found.length > 0;

  useEffect(() => {
    combobox.current = new Combobox(input.current, list.current, { tabInsertsSuggestions: false, firstOptionSelectionMode: "active" });
    return () => combobox.current.destroy();
  }, []);
  useEffect(() => {
    if (!isOpen) return undefined;
    combobox.current.start();
    return () => combobox.current.stop();
  }, [found]);

  const close = () => {
    clearTimeout(asked.current?.waiting);
    asked.current?.leaving.abort();
    setFound(null);
  };
  const type = () => {
    close();
    const text = input.current.value.trim();
    if (text.length < SHORTEST) return;
    const leaving = new AbortController();
    const waiting = setTimeout(() => {
      call(`page/products?q=${encodeURIComponent(text)}`, { signal: leaving.signal })
        .then(({ products }) => {
          setFound(products);
          setFailed("");
        })
        .catch((error) => error.name === "AbortError" || setFailed(error.message));
    }, TYPING_MS);
    asked.current = { leaving, waiting };
  };
  const take = (committed) => {
    const product = found?.find((item) => item.product_id === committed.target.dataset.id);
    if (!product) return;
    add(product);
    input.current.value = "";
    close();
    input.current.focus();
  };
  const status = failed || (found === null ? "" : found.length ? `${counted(found.length, "product")} found` : "Nothing of that name");
  return html`
    <label for="search">Add products</label>
    <div class="search" onFocusOut=${(left) => left.currentTarget.contains(left.relatedTarget) || close()}>
      <${Icon} name="search" />
      <input id="search" ref=${input} type="text" autocomplete="off" spellcheck="false" placeholder="milk, bananas, bread …"
        maxlength="200" onInput=${type} onKeyDown=${(pressed) => pressed.key === "Escape" && close()} />
      <ul ref=${list} id="found" role="listbox" aria-label="Products found" hidden=${!isOpen} onMouseDown=${(down) => down.preventDefault()}
        oncombobox-commit=${take}>
        ${(found ?? []).map((item) => html`<li key=${item.product_id} id=${`found-${item.product_id}`} role="option" data-id=${item.product_id}>
          <span>${item.name}</span><span class="quiet">${placeOf(item)}</span></li>`)}
      </ul>
    </div>
    <p class=${found !== null && !found.length || failed ? "quiet" : "unseen"} role="status">${status}</p>`;
}
