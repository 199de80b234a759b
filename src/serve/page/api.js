// Requests to the server that the page came from, and to no other.

const TRIES = 8;

export class ApiError extends Error {
  constructor(status, code, message, remedy) {
    super(message);
    Object.assign(this, { status, code, remedy: remedy ?? "" });
  }
}

// What the server says of a failed request, or plain words where it says nothing.
async function failure(response) {
  let said = null;
  try {
    const body = await response.json();
    // Where no picture could be read, the error stands at the picture.
    said = body.error ?? body.images?.[0]?.error;
  } catch {
    // Not JSON: a proxy's page, or a cut answer.
  }
  return new ApiError(
    response.status,
    said?.code ?? "unknown",
    said?.message ?? `The server answered with status ${response.status}.`,
    said?.remedy,
  );
}

const pause = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

// A full server names a time to come back after: the page waits and asks again. One that still reads a cache does
// so too, as long as it takes; `onWait` is told what it says.
export async function request(path, { onWait, ...options } = {}) {
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch(path, { credentials: "same-origin", ...options });
    } catch {
      throw new ApiError(0, "unreachable", "The server does not answer.", "Check that `logitcache serve` still runs.");
    }
    if (response.ok && response.status !== 202) return response;
    const waitSeconds = Number(response.headers.get("Retry-After"));
    const error = await failure(response);
    const busy = [429, 503].includes(response.status) && attempt < TRIES;
    if (!waitSeconds || !(busy || error.code === "reading")) {
      if (error.status === 401) document.dispatchEvent(new CustomEvent("token-needed", { detail: error }));
      throw error;
    }
    onWait?.(error.message);
    await pause(Math.min(waitSeconds, 30) * 1000);
  }
}

export const getJson = async (path, options) => (await request(path, options)).json();

export const postJson = (path, body) =>
  getJson(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// Runs jobs, at most `limit` at once, in the order they came.
export class Lane {
  #waiting = [];
  #running = 0;

  constructor(limit) {
    this.limit = limit;
  }

  add(job) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      this.#next();
    });
  }

  #next() {
    while (this.#running < this.limit && this.#waiting.length) {
      const { job, resolve, reject } = this.#waiting.shift();
      this.#running++;
      job()
        .then(resolve, reject)
        .finally(() => {
          this.#running--;
          this.#next();
        });
    }
  }
}
