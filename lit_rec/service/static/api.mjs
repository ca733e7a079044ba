// The service's own HTTP interface: what a program would call, this page calls.

const KEY = "lit_rec.api_key";

/** An answer of status 400 and above, or none at all. */
export class ServiceError extends Error {
  constructor(status, { code, message, request_id: requestId, fields }, retryAfter) {
    super(message);
    Object.assign(this, { status, code, requestId, fields: fields ?? [], retryAfter });
  }
}

export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set: (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY)),
};

/** Call the service; paths are relative, so that it may live below a prefix. */
export async function call(path, { body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (apiKey.get()) headers["X-API-Key"] = apiKey.get();
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, { code: "unreachable", message: "The service does not answer." });
  }
  const content = await response.json().catch(() => null);
  if (response.ok && content !== null) return content;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const unformed = { code: "no_json", message: `The answer was ${response.status}, in a form this page does not know.` };
  const requestId = response.headers.get("X-Request-ID");
  throw new ServiceError(response.status, content?.error ?? { ...unformed, request_id: requestId }, retryAfter);
}

/** One event of a list that was served; its id makes a second sending harmless. */
export function event(type, answer, item, userId) {
  return {
    event_type: type,
    event_id: `${answer.request_id}.${item.product_id}.${type}`,
    request_id: answer.request_id,
    product_id: item.product_id,
    user_id: userId ?? undefined,
    metadata: { position: item.rank, source: "lit_rec_page" }, // reports leave these out: nobody shopped
    created_at: new Date().toISOString(),
  };
}
