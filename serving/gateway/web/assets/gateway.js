// Talks to the gateway. The token lives in this tab's sessionStorage and goes out in a header alone.

const TOKEN = "breast-density token";

export class GatewayError extends Error {
  constructor(message, status = 0, answer = {}) {
    super(message);
    this.status = status;
    this.answer = answer;
  }
}

function sentence(status, answer) {
  if (typeof answer?.detail === "string") return answer.detail;
  return `The gateway answered with status ${status}.`;
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; }
}

// askToken(refused) resolves with a token that a person gave; refused: the last one was wrong.
export class Gateway {
  #askToken;
  #asking = null;

  constructor(askToken) { this.#askToken = askToken; }

  get #token() { return sessionStorage.getItem(TOKEN); }

  forgetToken() { sessionStorage.removeItem(TOKEN); }

  // Asks once, however many calls wait for it. `used`: the token that was refused, null where there was none.
  async #newToken(used) {
    if (this.#token && this.#token !== used) return;
    this.forgetToken();
    this.#asking ??= this.#askToken(used !== null)
      .then((token) => sessionStorage.setItem(TOKEN, token))
      .finally(() => { this.#asking = null; });
    await this.#asking;
  }

  // Runs send(token) until its answer is another than 401.
  async #authorized(send) {
    for (;;) {
      if (!this.#token) await this.#newToken(null);
      const used = this.#token;
      const answer = await send(used);
      if (answer.status !== 401) return answer;
      await this.#newToken(used);
    }
  }

  async #get(path, signal) {
    let response;
    try {
      response = await this.#authorized((token) =>
        fetch(path, { headers: { Authorization: `Bearer ${token}` }, cache: "no-store", signal }));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new GatewayError("The gateway does not answer.");
    }
    if (!response.ok) throw new GatewayError(sentence(response.status, parsed(await response.text())), response.status);
    return response;
  }

  async studies() { return (await this.#get("api/studies")).json(); }

  async study(key) { return (await this.#get(`api/studies/${encodeURIComponent(key)}`)).json(); }

  async picture(key, name, signal) {
    return (await this.#get(`api/studies/${encodeURIComponent(key)}/views/${name}.png`, signal)).blob();
  }

  // Sends the files of one exam; onProgress(share of 1), signal aborts. Real file names stay here: they may name a person.
  async upload(files, onProgress, signal) {
    const { status, text } = await this.#authorized((token) => new Promise((resolve, reject) => {
      const form = new FormData(), request = new XMLHttpRequest();
      files.forEach((file, index) => form.append("files", file, `${index + 1}.dcm`));
      request.open("POST", "api/studies");
      request.setRequestHeader("Authorization", `Bearer ${token}`);
      request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
      request.addEventListener("load", () => resolve({ status: request.status, text: request.responseText }));
      request.addEventListener("error", () => reject(new GatewayError(
        "The upload broke off: a file cannot be read, or the gateway does not answer. Nothing is lost: send the exam again.")));
      request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
      signal.addEventListener("abort", () => request.abort());
      request.send(form);
    }));
    const answer = parsed(text);
    if (status < 200 || status > 299 || !answer) throw new GatewayError(sentence(status, answer), status, answer ?? {});
    return answer;
  }
}
