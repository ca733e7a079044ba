// Choosing a shopper whom the model has never seen.

import { counted, html, Icon, whole } from "./html.mjs";

export function Picker({ shoppers, userId, choose }) {
  if (shoppers === null) return html`<div class="bone" aria-hidden="true"></div>`;
  const surprise = () => {
    const others = shoppers.shoppers.filter((each) => each.user_id !== userId);
    if (others.length) choose(others[Math.floor(Math.random() * others.length)].user_id);
  };
  const isListed = shoppers.shoppers.some((each) => each.user_id === userId);
  return html`
    <label for="shopper">Shopper <span class="quiet">of ${whole(shoppers.total)}, none seen in training</span></label>
    <div class="row">
      <select id="shopper" value=${userId} onChange=${(changed) => choose(changed.target.value)}>
        ${!isListed && html`<option value=${userId}>${userId}</option>`}
        ${shoppers.shoppers.map(
          (each) => html`<option key=${each.user_id} value=${each.user_id}>
            ${each.user_id}${each.n_orders === null ? "" : `, ${counted(each.n_orders, "basket")}`}
          </option>`,
        )}
      </select>
      <button type="button" aria-label="Another shopper" title="Another shopper" onClick=${surprise}><${Icon} name="shuffle" /></button>
    </div>`;
}
