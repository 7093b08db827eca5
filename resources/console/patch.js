// A patch for reading: one fold per file, with its lines added and removed.

import { fold, make, say } from "./dom.js";

const SHORT_FILE = 40;      // lines; such a file is shown at once …
const FEW_FILES = 4;        // … where there are few
const MAX_LINES = 2000;     // of one file
const SIGNS = { added: "+", modified: "~", deleted: "−", renamed: "→" };

export function patchView(changes) {
  if (changes.unrecorded) {
    const words = say("console.patch_unrecorded", { reason: changes.unrecorded });
    return make("p", { class: "quiet", text: words });
  }
  if (!changes.files.length) return "";
  const parts = filesOf(changes.patch);
  const [more, less] = ["additions", "deletions"].map((name) =>
    changes.files.reduce((sum, file) => sum + (file[name] ?? 0), 0));
  const notes = [
    changes.is_undone && say("console.patch_undone"),
    changes.is_cut && say("console.patch_cut"),
    changes.left_out?.length && say("console.patch_left_out", {
      names: changes.left_out.map((each) => each.path).join(", "),
    }),
  ].filter(Boolean);
  return make("section", { class: "patch", "aria-label": say("console.changes") },
    make("h4", {}, say("console.changed_files", { count: changes.files.length }), counts(more, less)),
    ...notes.map((note) => make("p", { class: "quiet", text: note })),
    ...changes.files.map((file, index) =>
      fileView(file, parts[index] ?? [], changes.files.length <= FEW_FILES)));
}

const counts = (more, less) => make("span", { class: "counts" },
  make("span", { class: "more", text: ` +${more}` }), make("span", { class: "less", text: ` −${less}` }));

function fileView(file, lines, isOneOfFew) {
  const name = file.old_path ? `${file.old_path} → ${file.path}` : file.path;
  const status = say(`console.file_${file.status}`);
  const view = fold("");
  view.firstChild.append(
    make("span", { class: `sign ${file.status}`, role: "img", "aria-label": status, text: SIGNS[file.status] }),
    make("b", { class: "path", text: name }),
    file.is_binary ? make("span", { class: "quiet", text: say("console.binary") })
      : counts(file.additions ?? 0, file.deletions ?? 0));
  const shown = lines.slice(0, MAX_LINES).map(lineView);
  if (lines.length > MAX_LINES) shown.push(make("span", { class: "hunk", text: say("console.patch_cut") }));
  if (shown.length) view.append(make("pre", { class: "diff", tabindex: "0" }, ...shown));
  view.open = isOneOfFew && shown.length > 0 && lines.length <= SHORT_FILE;
  return view;
}

const KINDS = { "+": "more", "-": "less", "@": "hunk" };
const lineView = (line) => make("span", { class: KINDS[line[0]] ?? "", text: `${line}\n` });

// The lines of each file's changes, in the order of the patch, without the headers of git.
function filesOf(patch) {
  const files = [];
  let inHunk = false;
  for (const line of patch.split("\n")) {
    if (line.startsWith("diff --git ")) {
      files.push([]);
      inHunk = false;
    } else if (line.startsWith("@@ ")) {
      inHunk = true;
    }
    if (inHunk && line) files.at(-1).push(line);
  }
  return files;
}
