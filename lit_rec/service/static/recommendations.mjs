// What is recommended: a card for each product, how many of them were really bought next, and what is left out.

import { useEffect, useRef } from "./vendor/hooks.mjs";
import { counted, html, Icon, placeOf, whole } from "./html.mjs";
import { timesBought } from "./history.mjs";

export function Recommendations(props) {
  const { answer, bought, next, isBusy, hasHistory } = props;
  const nextIds = new Set(next.map((item) => item.product_id));
  const items = answer?.items ?? [];
  const hits = items.filter((item) => nextIds.has(item.product_id)).length;
  const rankOf = new Map(items.map((item) => [item.product_id, item.rank]));
  return html`
    <div class="heading">
      <h2 id="recommended" tabindex="-1">${hasHistory ? "What they will buy next" : "What most people buy"}</h2>
      <${Controls} ...${props} />
    </div>
    ${answer && next.length > 0 && html`<${Hits} items=${items} nextIds=${nextIds} hits=${hits} n=${next.length} />`}
    <${Excluded} excluded=${props.excluded} restore=${props.restore} />
    ${!answer && isBusy && html`<ul class="cards" aria-label="Loading">
      ${[1, 2, 3, 4, 5, 6].map((key) => html`<li key=${key} class="card bone" aria-hidden="true"></li>`)}
    </ul>`}
    ${answer && !items.length && html`<p class="empty">Nothing is left to recommend. Exclude less.</p>`}
    <${Cards} ...${props} items=${items} nextIds=${nextIds} times=${timesBought(bought)} />
    ${next.length > 0 && answer && html`<${ReallyBought} next=${next} rankOf=${rankOf} />`}`;
}

function Controls({ onlyNew, setOnlyNew, topK, setTopK, hasHistory }) {
  return html`
    <div class="controls">
      ${hasHistory && html`<label class="check"><input type="checkbox" checked=${onlyNew} onChange=${(changed) => setOnlyNew(changed.target.checked)} />
        Only what is new to them</label>`}
      <span class="row"><label for="top-k">Show</label>
        <select id="top-k" value=${String(topK)} onChange=${(changed) => setTopK(Number(changed.target.value))}>
        ${[10, 20, 50].map((number) => html`<option key=${number} value=${String(number)}>${number}</option>`)}
      </select></span>
    </div>`;
}

function Hits({ items, nextIds, hits, n }) {
  return html`
    <div class="hits" id="hits">
      <p><strong>${hits} of ${items.length}</strong> ${hits === 1 ? "was" : "were"} really in the next order${" "}
        <span class="quiet">of ${counted(n, "product")}</span></p>
      <ol aria-hidden="true">
        ${items.map((item) => html`<li key=${item.rank} class=${nextIds.has(item.product_id) ? "hit" : ""}></li>`)}
      </ol>
    </div>`;
}

function Excluded({ excluded, restore }) {
  if (!excluded.length) return null;
  return html`
    <div class="excluded">
      <p id="excluded">Left out</p>
      <ul class="names" aria-labelledby="excluded">
        ${excluded.map((item) => html`<li key=${item.product_id} class="removable">${item.name}
          <button type="button" class="plain" aria-label=${`Recommend ${item.name} again`} onClick=${() => restore(item)}>
            <${Icon} name="undo-2" /></button></li>`)}
      </ul>
    </div>`;
}

function Cards({ items, nextIds, times, done, act, exclude, light, isBusy }) {
  const list = useRef(null);
  const left = useRef(null); // place of the card that was left out: where the keyboard goes on
  useEffect(() => {
    if (left.current === null) return;
    const buttons = list.current?.querySelectorAll("[data-exclude]") ?? [];
    (buttons[Math.min(left.current, buttons.length - 1)] ?? document.getElementById("recommended")).focus();
    left.current = null;
  }, [items]);
  if (!items.length) return null;
  const scores = items.map((item) => item.score);
  const [lowest, highest] = [Math.min(...scores), Math.max(...scores)];
  const share = (score) => (highest > lowest ? 0.12 + (0.88 * (score - lowest)) / (highest - lowest) : 1);
  return html`
    <ol class="cards" ref=${list} data-busy=${isBusy}>
      ${items.map((item, row) => html`<${Card}
        key=${item.product_id} item=${item} share=${share(item.score)} isHit=${nextIds.has(item.product_id)}
        times=${times.get(item.product_id) ?? 0} did=${done[item.product_id] ?? {}} act=${act} light=${light}
        exclude=${() => { left.current = row; exclude(item); }} />`)}
    </ol>`;
}

function Card({ item, share, isHit, times, did, act, light, exclude }) {
  const step = (type, icon, todo, doneWord) => html`
    <button type="button" class=${type === "purchase" ? "soft" : ""} aria-pressed=${Boolean(did[type])}
      aria-label=${`${did[type] ? doneWord : todo}: ${item.name}`} onClick=${() => act(type, item)}>
      <${Icon} name=${did[type] ? "check" : icon} />${did[type] ? doneWord : todo}</button>`;
  return html`
    <li class=${`card ${isHit ? "is-hit" : ""}`} data-product=${item.product_id}
      onMouseEnter=${() => light(item.product_id)} onMouseLeave=${() => light(null)}
      onFocusIn=${() => light(item.product_id)} onFocusOut=${() => light(null)}>
      <div class="top">
        <span class="rank"><span class="unseen">Rank </span>${item.rank}</span>
        ${isHit && html`<span class="bought"><${Icon} name="circle-check" />bought next</span>`}
        <button type="button" class="plain leave-out" data-exclude aria-label=${`Leave out: ${item.name}`} title="Leave out" onClick=${exclude}>
          <${Icon} name="eye-off" /></button>
      </div>
      <h3><button type="button" class="title" aria-expanded=${Boolean(did.click)} onClick=${() => act("click", item)}>${item.name}</button></h3>
      <p class="place">${placeOf(item)}</p>
      ${item.reason && html`<p class="reason"><${Icon} name=${times ? "repeat" : "sparkles"} />${item.reason}</p>`}
      ${did.click && html`<dl class="details">
        <div><dt>Product id</dt><dd>${item.product_id}</dd></div>
        <div><dt>Past orders</dt><dd>${times ? `in ${whole(times)}` : "in none: new to them"}</dd></div>
      </dl>`}
      <div class="score" title="Comparable within this list">
        <span class="bar" aria-hidden="true"><span style=${{ width: `${(100 * share).toFixed(1)}%` }}></span></span>
        <span><span class="unseen">Score </span>${item.score.toFixed(3)}</span>
      </div>
      <div class="actions">
        ${step("add_to_cart", "shopping-cart", "Add to cart", "In the cart")}
        ${step("purchase", "shopping-basket", "Buy", "Bought")}
      </div>
    </li>`;
}

function ReallyBought({ next, rankOf }) {
  const found = (item) => rankOf.has(item.product_id);
  const inOrder = [...next].sort((one, other) => (rankOf.get(one.product_id) ?? 1e9) - (rankOf.get(other.product_id) ?? 1e9));
  return html`
    <section class="really" aria-labelledby="really">
      <h3 id="really">Their real next order</h3>
      <ul class="names">
        ${inOrder.map((item) => html`<li key=${item.product_id} class=${found(item) ? "hit" : ""}>
          ${found(item) && html`<${Icon} name="check" />`}${item.name}
          ${found(item) && html` <span class="often">rank ${rankOf.get(item.product_id)}</span>`}</li>`)}
      </ul>
    </section>`;
}
