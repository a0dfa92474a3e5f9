"""Features of each text of a file, in a file: the command `encode` with a model of sentence-transformers.

    align-uniform encode sentence-transformers:all-MiniLM-L6-v2 texts.txt --out features.npz

Under torchrun each process encodes its share of the texts.
"""

from __future__ import annotations

import shlex
import sys

from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform._writing import check_replaceable
from align_uniform.files.feature_files import WITH_COLUMNS, check_feature_file, write_features
from align_uniform.files.scores import columns_of_scores
from align_uniform.recipes.devices import device
from align_uniform.recipes.encoders.options import SENTENCE_TRANSFORMERS, ToEncodeOptions
from align_uniform.recipes.encoders.sentences import load_on_all_ranks
from align_uniform.recipes.encoders.text_tables import TextTable, read_texts


def run(options: ToEncodeOptions) -> int:
    """Encode, write the file, and say what it holds; return 0."""
    check_feature_file(options.out)
    check_replaceable(options.out, force=options.force)
    table = read_texts(options.items, options.columns)
    name = options.encoder.removeprefix(SENTENCE_TRANSFORMERS)
    encoder = load_on_all_ranks(name, device(options.device))
    prompts = {"prompt_name": options.prompt_name, "prompt": options.prompt}
    rows = encoder.encode(
        table.texts, **prompts, batch_size=options.batch_size, progress=True, distributed=True
    )
    texts = table.texts
    if not table.are_pairs:  # a row for each row of the file, also where a text comes again
        texts = list(table.sides[0])
        rows = rows[[table.numbers[text] for text in texts]]
    if ranks.rank() == 0:
        write_features(options.out, rows.numpy(), {"texts": texts})
        if warning := encoder.of_cut(encoder.cut(table.texts, **prompts), len(table.texts)):
            sys.stderr.write(f"warning: {warning}\n")
        sys.stderr.write(_closing(options, table, rows.shape[0], rows.shape[1]))
    return 0


def _closing(options: ToEncodeOptions, table: TextTable, count: int, dim: int) -> str:
    """Return what the file holds, and the command that measures it."""
    out, is_whole = str(options.out), options.out.suffix in WITH_COLUMNS
    command = ["align-uniform", "measure", f"{out}::features" if is_whole else out]
    note = ""
    if is_whole and table.are_pairs and table.has_names:
        command += ["--ids", f"{out}::texts", "--pairs", table.path, "--columns", *table.names]
        if scores := columns_of_scores(table.table, table.names):
            command.append("--all-pairs")
            note = (
                "  scores     --threshold in place of --all-pairs takes the pairs with a score above it, as "
                f"in the column {scores[0]}\n"
            )
    what = "different text" if table.are_pairs else "text"
    return (
        f"{table.words}.\n{out}: {counted(count, what)}, {counted(dim, 'feature')} each"
        f"{', texts' if is_whole else ''}\n  next       {shlex.join(command)}\n{note}"
    )
