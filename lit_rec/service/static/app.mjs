// The page: whose history, what is recommended for it, what was done with it, and what came of it all.

import { render } from "./vendor/preact.mjs";
import { useCallback, useEffect, useMemo, useState } from "./vendor/hooks.mjs";
import { apiKey, call, event, ServiceError } from "./api.mjs";
import { Builder, requestOf } from "./builder.mjs";
import { History } from "./history.mjs";
import { html, Icon, productOf, whole } from "./html.mjs";
import { Live } from "./live.mjs";
import { KeyDialog, Problem } from "./problems.mjs";
import { Recommendations } from "./recommendations.mjs";
import { Picker } from "./users.mjs";

const TYPING_MS = 200; // several changes at once are one question
const MAX_TIMES = 40; // answers in the picture of latencies
const MAX_EXCLUDED = 1000; // what /recommend takes

function App() {
  const [about, setAbout] = useState(null);
  const [users, setUsers] = useState(null);
  const [mode, setMode] = useState("user");
  const [userId, setUserId] = useState(() => {
    const named = new URLSearchParams(location.hash.slice(1));
    return named.get("user") ?? named.get("shopper"); // as version 0.1 named it
  });
  const [user, setUser] = useState(null);
  const [orders, setOrders] = useState([{ gap: null, products: [] }]);
  const [excluded, setExcluded] = useState([]);
  const [onlyNew, setOnlyNew] = useState(false);
  const [topK, setTopK] = useState(10);
  const [answer, setAnswer] = useState(null);
  const [done, setDone] = useState({});
  const [times, setTimes] = useState([]);
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(true);
  const [attempt, setAttempt] = useState(0);
  const [nFeedback, setFeedback] = useState(0);
  const [said, say] = useState("");
  const [lit, setLit] = useState(null);

  const retry = useCallback(() => {
    setProblem(null);
    setAttempt((number) => number + 1);
  }, []);
  const fail = useCallback((error) => {
    if (error.name === "AbortError") return;
    setBusy(false);
    setProblem(error instanceof ServiceError ? error : new ServiceError(0, { message: String(error), code: "page" }));
  }, []);

  useEffect(() => {
    const leaving = new AbortController();
    Promise.all([
      call("page/about", { signal: leaving.signal }),
      call("page/users", { signal: leaving.signal }),
    ])
      .then(([whatIsServed, known]) => {
        setAbout(whatIsServed);
        setUsers(known);
        if (!known.total) setMode("build");
        setUserId((chosen) => chosen ?? known.users[0]?.user_id ?? null);
      })
      .catch(fail);
    return () => leaving.abort();
  }, [attempt]);

  useEffect(() => {
    if (!users || !userId || mode !== "user") return undefined;
    const leaving = new AbortController();
    history.replaceState(null, "", `#user=${encodeURIComponent(userId)}`);
    setBusy(true);
    call(`page/users/${encodeURIComponent(userId)}`, { signal: leaving.signal }).then(setUser).catch(fail);
    return () => leaving.abort();
  }, [users, userId, mode]);

  const isUser = mode === "user";
  const known = isUser && user?.user_id === userId ? user : null;
  const bought = useMemo(() => (isUser ? known?.orders ?? [] : requestOf(orders).orders), [known, mode, orders]);
  const body = useMemo(() => {
    if (isUser && !known) return null;
    const boughtIds = onlyNew ? bought.flatMap((order) => order.products.map((item) => item.product_id)) : [];
    const unwanted = [...new Set([...excluded.map((item) => item.product_id), ...boughtIds])].slice(0, MAX_EXCLUDED);
    const who = isUser ? { user_id: userId } : { history: requestOf(orders).history };
    return { ...who, top_k: topK, exclude_product_ids: unwanted, explain: true };
  }, [isUser, known, orders, excluded, onlyNew, topK]);
  const question = body && JSON.stringify(body);

  useEffect(() => {
    if (!question) return undefined;
    const leaving = new AbortController();
    setBusy(true);
    const waiting = setTimeout(() => {
      call("recommend", { body: JSON.parse(question), signal: leaving.signal })
        .then((found) => {
          const items = found.recommendations.map((each) => ({
            ...each,
            ...productOf(each.product_id, each.product_text),
          }));
          setAnswer({ ...found, items, userId: body.user_id });
          setDone({});
          setBusy(false);
          setProblem(null);
          setTimes((before) => [...before, found.stats].slice(-MAX_TIMES));
          send(items.map((item) => event("impression", found, item, body.user_id)));
        })
        .catch(fail);
    }, answer ? TYPING_MS : 0);
    return () => {
      clearTimeout(waiting);
      leaving.abort();
    };
  }, [question, attempt]);

  function send(events) {
    if (!events.length) return Promise.resolve();
    return call("feedback", { body: { events } })
      .then(() => setFeedback((number) => number + 1))
      .catch((error) => {
        fail(error);
        throw error;
      });
  }

  function act(type, item) {
    const mark = (value) => setDone((before) => ({ ...before, [item.product_id]: { ...before[item.product_id], [type]: value } }));
    if (done[item.product_id]?.[type]) return;
    mark(true);
    const words = { click: "Looked at", add_to_cart: "Added to the cart:", purchase: "Bought:" }[type];
    send([event(type, answer, item, answer.userId)]).then(
      () => say(`${words} ${item.name}. Feedback stored.`),
      () => mark(false),
    );
  }

  const exclude = (item) => {
    setExcluded((before) => [...before, item]);
    say(`${item.name} is excluded; the list is made anew.`);
  };
  const restore = (item) => {
    setExcluded((before) => before.filter((each) => each.product_id !== item.product_id));
    say(item.name ? `${item.name} may be recommended again.` : "");
  };
  const restart = (change) => {
    setExcluded([]);
    setLit(null);
    change();
  };

  return html`
    <a class="skip" href="#recommended">Skip to the recommendations</a>
    <${Header} about=${about} />
    <main aria-busy=${isBusy}>
      <section class="side" aria-labelledby="whose">
        <h2 id="whose">Whose history?</h2>
        <div class="switch" role="group" aria-label="Whose history">
          <button type="button" aria-pressed=${isUser} disabled=${users !== null && !users.total}
            onClick=${() => restart(() => setMode("user"))}><${Icon} name="users" />A known user</button>
          <button type="button" aria-pressed=${!isUser} onClick=${() => restart(() => setMode("build"))}>
            <${Icon} name="plus" />Build one</button>
        </div>
        ${isUser
          ? html`<${Picker} users=${users} userId=${userId} choose=${(id) => restart(() => setUserId(id))} />`
          : html`<${Builder} orders=${orders} change=${setOrders} say=${say} />`}
        ${isUser && html`<${History} user=${known} lit=${lit} />`}
      </section>
      <section class="centre" aria-labelledby="recommended">
        ${problem && html`<${Problem} problem=${problem} retry=${retry} />`}
        <${Recommendations}
          answer=${answer} bought=${bought} next=${known?.next ?? []} isBusy=${isBusy} done=${done} act=${act}
          exclude=${exclude} excluded=${excluded} restore=${restore} onlyNew=${onlyNew} setOnlyNew=${setOnlyNew}
          topK=${topK} setTopK=${setTopK} light=${setLit} hasHistory=${bought.length > 0} />
      </section>
      <${Live} nFeedback=${nFeedback} times=${times} isReady=${about !== null} answer=${answer} />
    </main>
    <footer>
      <p>Everything here is also an HTTP call: <a href="docs">interactive documentation</a>,
        <a href="metrics">metrics</a>. This page loads nothing from elsewhere.
        What is done on it is marked in the feedback, and left out of reports and training.</p>
    </footer>
    <p class="unseen" role="status" aria-live="polite">${said}</p>
    <${KeyDialog} isWanted=${problem?.status === 401} isRefused=${problem?.code === "invalid_key"}
      use=${(key) => { apiKey.set(key); retry(); }} />`;
}

function Header({ about }) {
  const versions = about ? [...new Set(Object.values(about.models))].join(", ") : "";
  return html`
    <header>
      <img src=${new URL("./icon.svg", import.meta.url).href} alt="" width="40" height="40" />
      <div>
        <h1>lit_rec</h1>
        <p>From a user’s past orders, what they will buy next.</p>
      </div>
      ${about && html`<dl class="served">
        <div><dt>Model</dt><dd>${versions}</dd></div>
        <div><dt>Catalogue</dt><dd>${whole(about.n_products)} products</dd></div>
      </dl>`}
    </header>`;
}

render(html`<${App} />`, document.getElementById("app"));
