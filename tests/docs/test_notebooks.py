"""The notebooks run, at small budgets, and become pages that show what their cells show."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SHORTER = {
    # The same cells, for seconds less.
    '"copy:smoke"': '"copy:smoke[protocol.max_steps=10,protocol.evaluate_every=5]"',
    '"reconstruct:smoke"': '"reconstruct:smoke[protocol.max_steps=10,protocol.evaluate_every=5]"',
    '"anomaly:smoke"': '"anomaly:smoke[protocol.max_steps=10,protocol.evaluate_every=5]"',
    'probe("copy"': 'probe("copy:smoke"',
}
SHOWN = {"recurrent": ["leaky", "effective horizon"], "autoencoders": ["pca (floor)", "roc_auc"]}


def hook():
    """The hook of the site that makes pages of notebooks."""
    spec = importlib.util.spec_from_file_location("notebooks_hook", ROOT / "docs/hooks/notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("docs/notebooks/*.ipynb")))
def test_a_notebook_runs_and_becomes_a_page(name, tmp_path):
    notebook = nbformat.read(ROOT / f"docs/notebooks/{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    for cell in notebook.cells:
        for written, shorter in SHORTER.items():
            cell.source = cell.source.replace(written, shorter)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [one for one in shown if one.output_type == "stream" and one.name == "stderr"]
    pictures = []
    page = hook().as_markdown(notebook, f"{name}.ipynb", lambda picture: pictures.append(picture) or "picture.png")
    assert [picture[:4] for picture in pictures] == [b"\x89PNG"]
    for text in ("![Output](picture.png)", f"({name}.ipynb)", *SHOWN[name]):
        assert text in page, text
