// What came of it, as the service counts it: the funnel of feedback, and how long answers took.

import { useEffect, useState } from "./vendor/hooks.mjs";
import { call } from "./api.mjs";
import { counted, html, Icon, milliseconds, whole } from "./html.mjs";

const EVERY_MS = 10_000;
const STEPS = [
  ["impression", "Shown"],
  ["click", "Clicked"],
  ["add_to_cart", "In the cart"],
  ["purchase", "Bought"],
];
const OPENED = new Date().toISOString();

export function Live({ nFeedback, times, isReady, answer }) {
  const [isMine, setMine] = useState(false);
  const [funnel, setFunnel] = useState(null);
  const [latencies, setLatencies] = useState(null);
  const [isLost, setLost] = useState(false);
  useEffect(() => {
    if (!isReady) return undefined;
    const leaving = new AbortController();
    const since = isMine ? `?since=${encodeURIComponent(OPENED)}` : "";
    const look = () => {
      if (document.hidden) return;
      Promise.all([
        call(`page/funnel${since}`, { signal: leaving.signal }).then(setFunnel),
        call("page/latencies", { signal: leaving.signal }).then(setLatencies),
      ])
        .then(() => setLost(false))
        .catch((error) => error.name === "AbortError" || setLost(true));
    };
    look();
    const clock = setInterval(look, EVERY_MS);
    return () => {
      clearInterval(clock);
      leaving.abort();
    };
  }, [isReady, nFeedback, isMine]);
  return html`
    <aside class="live" aria-labelledby="live">
      <h2 id="live"><${Icon} name="activity" />Live</h2>
      ${isLost && html`<p class="quiet">These figures could not be read just now.</p>`}
      <div class="panel">
        <h3>Feedback</h3>
        <div class="switch small" role="group" aria-label="Feedback of">
          <button type="button" aria-pressed=${!isMine} onClick=${() => setMine(false)}>Everyone</button>
          <button type="button" aria-pressed=${isMine} onClick=${() => setMine(true)}>Since I came</button>
        </div>
        <${Funnel} funnel=${funnel} />
      </div>
      <div class="panel">
        <h3>Latency</h3>
        <${Latency} times=${times} latencies=${latencies} />
      </div>
      ${answer && html`<p class="quiet answered">Last answer by <code>${answer.model_version}</code>${answer.arm === "default" ? "" : `, arm ${answer.arm}`},
        request <code>${answer.request_id.slice(0, 8)}</code></p>`}
    </aside>`;
}

function Funnel({ funnel }) {
  if (!funnel) return html`<div class="bone tall" aria-hidden="true"></div>`;
  const widest = Math.max(funnel.impression, 1);
  return html`
    <dl class="funnel">
      ${STEPS.map(([step, word]) => html`<div key=${step} data-step=${step}>
        <dt>${word}</dt>
        <dd><strong>${whole(funnel[step])}</strong>${" "}
          <span class="quiet">${step === "impression" ? `in ${counted(funnel.requests, "list")}` : rate(funnel[step], funnel.impression)}</span></dd>
        <span class="bar" aria-hidden="true"><span style=${{ width: `${Math.min(100, (100 * funnel[step]) / widest)}%` }}></span></span>
      </div>`)}
    </dl>`;
}

const rate = (number, of) => (of ? `${((100 * number) / of).toFixed(1)} %` : "–");

function Latency({ times, latencies }) {
  const last = times.at(-1);
  return html`
    ${last && html`<p class="big"><strong>${milliseconds(last.total_latency_ms)}</strong> <span class="quiet">the last answer</span></p>
    <${Times} times=${times} />`}
    ${latencies && html`<table>
      <thead><tr><th scope="col">All callers</th><th scope="col">median</th><th scope="col">95 %</th></tr></thead>
      <tbody>
        ${[["total", "Whole answer"], ["encode", "Text encoder"], ["rank", "Ranking"], ["feedback", "Feedback"]].map(
          ([part, word]) => html`<tr key=${part}><th scope="row">${word}</th>
            <td>${milliseconds(latencies[part].p50_ms)}</td><td>${milliseconds(latencies[part].p95_ms)}</td></tr>`,
        )}
      </tbody>
    </table>`}`;
}

const [WIDTH, HEIGHT, SLOTS] = [240, 48, 40];

/** A bar for each answer to this page, the newest on the right. */
function Times({ times }) {
  const slowest = Math.max(...times.map((each) => each.total_latency_ms), 1);
  const step = WIDTH / SLOTS;
  const words = `Times of the last ${counted(times.length, "answer")}, at most ${milliseconds(slowest)}`;
  return html`
    <svg class="times" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${words}>
      ${times.map((each, row) => {
        const tall = Math.max(2, (HEIGHT * each.total_latency_ms) / slowest);
        return html`<rect key=${row} x=${(SLOTS - times.length + row) * step} y=${HEIGHT - tall} width=${step - 2} height=${tall} rx="1.5" />`;
      })}
      <line x1="0" x2=${WIDTH} y1=${HEIGHT} y2=${HEIGHT} />
    </svg>`;
}
