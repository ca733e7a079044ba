// Choosing one of the users that the service knows.

import { useEffect, useState } from "./vendor/hooks.mjs";
import { call } from "./api.mjs";
import { counted, html, Icon, whole } from "./html.mjs";

const TYPING_MS = 200;

export function Picker({ users: known, userId, choose }) {
  const [typed, type] = useState("");
  const [found, setFound] = useState(null);
  const [failed, setFailed] = useState("");
  useEffect(() => {
    setFailed("");
    if (!typed.trim()) {
      setFound(null);
      return undefined;
    }
    const leaving = new AbortController();
    const waiting = setTimeout(() => {
      call(`page/users?q=${encodeURIComponent(typed.trim())}`, { signal: leaving.signal })
        .then(setFound)
        .catch((error) => error.name === "AbortError" || setFailed(error.message));
    }, TYPING_MS);
    return () => {
      clearTimeout(waiting);
      leaving.abort();
    };
  }, [typed]);
  const users = found ?? known;
  if (users === null) return html`<div class="bone" aria-hidden="true"></div>`;
  const surprise = () => {
    const others = users.users.filter((each) => each.user_id !== userId);
    if (others.length) choose(others[Math.floor(Math.random() * others.length)].user_id);
  };
  const isListed = users.users.some((each) => each.user_id === userId);
  const isWhole = known.total === known.users.length;
  const words = found === null ? "" : found.total ? `${counted(found.total, "user")} found` : "Nobody of that id";
  return html`
    ${!isWhole && html`<label for="find-user">Find a user <span class="quiet">of ${whole(known.total)}, by a part of the id</span></label>
    <input id="find-user" type="search" autocomplete="off" spellcheck="false" maxlength="256" value=${typed}
      onInput=${(changed) => type(changed.target.value)}
      onKeyDown=${(pressed) => pressed.key === "Enter" && found?.total && choose(found.users[0].user_id)} />
    <p class=${failed || words ? "quiet" : "unseen"} role="status">${failed || words}</p>`}
    <label for="user">User <span class="quiet">${isWhole ? `of ${whole(known.total)}` : `${whole(users.users.length)} listed`}</span></label>
    <div class="row">
      <select id="user" value=${userId} onChange=${(changed) => choose(changed.target.value)}>
        ${!isListed && html`<option value=${userId}>${userId}</option>`}
        ${users.users.map(
          (each) => html`<option key=${each.user_id} value=${each.user_id}>
            ${each.user_id}${each.n_orders === null ? "" : `, ${counted(each.n_orders, "order")}`}
          </option>`,
        )}
      </select>
      <button type="button" aria-label="Another user" title="Another user" onClick=${surprise}><${Icon} name="shuffle" /></button>
    </div>`;
}
