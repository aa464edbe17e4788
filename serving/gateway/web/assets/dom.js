// Create elements. Text is only inserted as text nodes, so that no name, reason or message can become markup.

export const byId = (id) => document.getElementById(id);

// el("p", { className: "soft" }, "text", node): properties are set as properties, data- and aria- names as attributes.
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export function say(node, text) {
  node.textContent = text;
  node.hidden = !text;
}
