// Client of the gateway. The token is kept in the sessionStorage of this tab, and only sent in a header.

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

// askToken(refused) resolves with the token that the user enters; refused is true if the last token was wrong.
export class Gateway {
  #askToken;
  #asking = null;

  constructor(askToken) { this.#askToken = askToken; }

  get #token() { return sessionStorage.getItem(TOKEN); }

  forgetToken() { sessionStorage.removeItem(TOKEN); }

  // Asks once for all waiting calls. `used` is the token that was refused, null if there was none.
  async #newToken(used) {
    if (this.#token && this.#token !== used) return;
    this.forgetToken();
    this.#asking ??= this.#askToken(used !== null)
      .then((token) => sessionStorage.setItem(TOKEN, token))
      .finally(() => { this.#asking = null; });
    await this.#asking;
  }

  // Repeats send(token) until the status is not 401.
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

  // Sends the files of one exam; calls onProgress with 0..1; signal aborts. File names are not sent: they may name a patient.
  async upload(files, onProgress, signal) {
    const { status, text } = await this.#authorized((token) => new Promise((resolve, reject) => {
      const form = new FormData(), request = new XMLHttpRequest();
      files.forEach((file, index) => form.append("files", file, `${index + 1}.dcm`));
      request.open("POST", "api/studies");
      request.setRequestHeader("Authorization", `Bearer ${token}`);
      request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
      request.addEventListener("load", () => resolve({ status: request.status, text: request.responseText }));
      request.addEventListener("error", () => reject(new GatewayError(
        "The upload failed: a file cannot be read, or the gateway does not answer. Send the exam again.")));
      request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
      signal.addEventListener("abort", () => request.abort());
      request.send(form);
    }));
    const answer = parsed(text);
    if (status < 200 || status > 299 || !answer) throw new GatewayError(sentence(status, answer), status, answer ?? {});
    return answer;
  }
}
