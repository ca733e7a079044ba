// What went wrong, and what to do about it.

import { useEffect, useRef, useState } from "./vendor/hooks.mjs";
import { counted, html, Icon } from "./html.mjs";

const TITLES = {
  0: "The service cannot be reached",
  401: "This service asks for a key",
  429: "Too many requests",
  503: "Not ready yet",
};
const WAIT = new Set([429, 503]); // asked again by themselves, when the service says

/** An error as the service words it, with the id under which its log has it. */
export function Problem({ problem, retry }) {
  const [seconds, setSeconds] = useState(null);
  useEffect(() => {
    if (!WAIT.has(problem.status) || !problem.retryAfter) {
      setSeconds(null);
      return undefined;
    }
    const until = Date.now() + problem.retryAfter * 1000;
    const tick = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      setSeconds(Math.max(left, 0));
      if (left <= 0) retry();
    };
    tick();
    const clock = setInterval(tick, 500);
    return () => clearInterval(clock);
  }, [problem]);
  const title = TITLES[problem.status] ?? "That did not work";
  return html`
    <div class="problem">
      <${Icon} name="triangle-alert" />
      <div>
        <div role="alert"><p><strong>${title}.</strong> ${problem.message}</p>
          ${problem.fields.length > 0 && html`<ul>
            ${problem.fields.map((field) => html`<li><code>${field.loc.join(".")}</code> ${field.msg}</li>`)}
          </ul>`}
        </div>
        ${problem.requestId && html`<p class="quiet">Request id <code>${problem.requestId}</code></p>`}
        ${seconds !== null && html`<p class="quiet">Trying again in ${counted(seconds, "second")}.</p>`}
        <button type="button" onClick=${retry}>Try again${seconds === null ? "" : " now"}</button>
      </div>
    </div>`;
}

/** Asks for the key of the service; it stays in this tab. */
export function KeyDialog({ isWanted, isRefused, use }) {
  const dialog = useRef(null);
  useEffect(() => {
    if (isWanted && !dialog.current.open) dialog.current.showModal();
    if (!isWanted && dialog.current.open) dialog.current.close();
  }, [isWanted]);
  const submit = (submitted) => {
    submitted.preventDefault();
    use(new FormData(submitted.target).get("key").trim());
  };
  return html`
    <dialog ref=${dialog} aria-labelledby="key-title">
      <form onSubmit=${submit}>
        <h2 id="key-title"><${Icon} name="key-round" />This service asks for a key</h2>
        ${isRefused && html`<p class="refused" role="alert">That key is not accepted.</p>`}
        <label for="key">API key</label>
        <input id="key" name="key" type="password" autocomplete="off" required />
        <p class="quiet">Kept in this tab until it is closed; sent to this service alone.</p>
        <button type="submit" class="strong">Use it</button>
      </form>
    </dialog>`;
}
