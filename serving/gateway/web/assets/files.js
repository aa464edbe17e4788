// Return dropped or chosen files as a list with a label.

const hidden = (file) => file.name.startsWith(".") || file.size === 0;

// readEntries returns a folder in parts; an empty part is the end.
async function entriesOf(folder) {
  const reader = folder.createReader(), found = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return found;
    found.push(...part);
  }
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const files = [];
  for (const child of await entriesOf(entry)) files.push(...await filesOf(child));
  return files;
}

// The label is the name of the folder, or of the first file.
function labelled(files, folder) {
  const shown = files.filter((file) => !hidden(file));
  if (!shown.length) return { files: shown, label: "" };
  const rest = shown.length > 1 ? ` and ${shown.length - 1} more` : "";
  return { files: shown, label: folder || shown[0].name + rest };
}

// The browser clears the list after the event, so all entries are read at once.
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return labelled([...transfer.files]);
  const files = [];
  for (const entry of entries) files.push(...await filesOf(entry));
  return labelled(files, entries.length === 1 && entries[0].isDirectory ? entries[0].name : "");
}

export const chosenFiles = (input) => labelled([...input.files], input.files[0]?.webkitRelativePath.split("/")[0]);
