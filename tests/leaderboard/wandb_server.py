"""A W&B server on loopback: as much of its GraphQL, file stream and storage as the real client needs, held in memory.

An operation of GraphQL is known by its name alone and answered with all fields that any client asks of it.
"""

import base64
import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

KEY = "k" * 40
"""The only key that the server takes."""


@dataclass
class Run:
    """A run as the server knows it."""

    name: str
    fields: dict[str, Any]
    """What the client said of it last: displayName, groupName, jobType, tags, config (JSON)."""
    streams: dict[str, dict[int, str]] = field(default_factory=dict)
    """Lines by stream (``wandb-history.jsonl``) and offset."""
    exit_code: int | None = None
    files: set[str] = field(default_factory=set)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows that were logged."""
        return [json.loads(line) for _, line in sorted(self.streams.get("wandb-history.jsonl", {}).items())]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary as it was sent last."""
        lines = self.streams.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)]) if lines else {}

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, without the client's own part."""
        stated = json.loads(self.fields.get("config") or "{}")
        return {key: one["value"] for key, one in stated.items() if key != "_wandb"}


@dataclass
class Artifact:
    """A version of an artifact."""

    id: str
    place: tuple[str, str]
    run: str
    collection: str
    type: str
    digest: str
    metadata: str
    aliases: list[str]
    version: int
    state: str = "PENDING"
    manifest: str = ""
    """Where its manifest lies in the storage."""


@dataclass
class Project:
    """What lies in one project."""

    runs: dict[str, Run] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reports by id."""


class WandbServer:
    """The server, listening from its making to its `close`.

    Args:
        page: The most runs that one answer lists.
    """

    def __init__(self, page: int = 50) -> None:
        self.page = page
        self.projects: dict[tuple[str, str], Project] = {}
        self.storage: dict[str, bytes] = {}
        self.operations: list[str] = []
        """Names of the GraphQL operations answered, and methods with paths of other requests."""
        self.unknown: list[str] = []
        """Operations that the server does not know; empty where a test has seen all that it relies on."""
        self._lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()

    def project(self, path: str) -> Project:
        """The project ``ENTITY/PROJECT``."""
        entity, name = path.split("/")
        return self.projects[entity, name]

    def content(self, artifact: Artifact, name: str) -> bytes:
        """A file of an artifact."""
        manifest = json.loads(self.storage[artifact.manifest])
        return self.storage[_blob(artifact.id, manifest["contents"][name]["digest"])]

    def answer(self, query: dict[str, Any]) -> dict[str, Any]:
        """The answer to one GraphQL request."""
        name = query.get("operationName") or query["query"].split("(")[0].split("{")[0].split()[-1]
        with self._lock:
            self.operations.append(name)
            operation = getattr(self, f"_on_{name}", None)
            if operation is None:
                self.unknown.append(name)
                return {"data": None, "errors": [{"message": f"the server does not know {name}"}]}
            try:
                return {"data": operation(query.get("variables") or {})}
            except Exception as error:
                # An answer that fails outright would be asked for again and again.
                self.unknown.append(f"{name}: {error!r}")
                return {"data": None, "errors": [{"message": f"{name} failed: {error!r}"}]}

    def stream(self, path: str, body: dict[str, Any]) -> None:
        """Take lines of a run: ``/files/ENTITY/PROJECT/RUN/file_stream``."""
        _, _, entity, project, name, _ = path.split("/")
        run = self.projects[entity, project].runs[name]
        with self._lock:
            for stream, chunk in (body.get("files") or {}).items():
                for place, line in enumerate(chunk["content"]):
                    run.streams.setdefault(stream, {})[chunk["offset"] + place] = line
            run.files |= set(body.get("uploaded") or [])
            if body.get("complete"):
                run.exit_code = body["exitcode"]

    def _put(self, key: str) -> str:
        return f"{self.url}/storage/{key}"

    # What runs are made by.

    def _on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "VXNlcjox", "entity": "team", "username": "ann", "email": "ann@example.org", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}, "name": "Ann", "admin": False}}

    _on_GetViewer = _on_GetDefaultEntity = _on_Viewer

    def _on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _on_UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        project = self.projects.setdefault((given["entity"], given["project"]), Project())
        inserted = given["name"] not in project.runs
        if inserted or given["groupName"] is not None or given["displayName"] is not None:
            # A run that is begun anew under an old id replaces what the old one had.
            project.runs[given["name"]] = Run(given["name"], {})
        run = project.runs[given["name"]]
        run.fields.update({key: value for key, value in given.items() if value is not None})
        return {"upsertBucket": {"bucket": self._run(given["entity"], given["project"], run), "inserted": inserted}}

    def _run(self, entity: str, project: str, run: Run) -> dict[str, Any]:
        said = run.fields
        return {
            "id": f"run:{run.name}",
            "name": run.name,
            "displayName": said.get("displayName") or run.name,
            "description": None,
            "config": said.get("config") or "{}",
            "sweepName": None,
            "project": {"id": "p", "name": project, "entity": {"id": "e", "name": entity}},
            "projectId": "1",
            "historyLineCount": len(run.history),
            "tags": said.get("tags") or [],
            "state": "running" if run.exit_code is None else "failed" if run.exit_code else "finished",
            "group": said.get("groupName"),
            "jobType": said.get("jobType"),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "commit": None,
            "readOnly": False,
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": "2026-01-01T00:00:00Z",
            "notes": None,
            "user": {"name": "Ann", "username": "ann"},
            "historyKeys": None,
        }

    def _on_CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        keys = {name: f"run/{given['run']}/{name}" for name in given["files"]}
        files = [{"name": name, "uploadUrl": self._put(key)} for name, key in keys.items()]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    # What artifacts are made by.

    def _on_FetchArtifactDigestAlgorithm(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def _on_ArtifactType(self, given: dict[str, Any]) -> dict[str, Any]:
        collection = given["name"].partition(":")[0]
        known = self.projects[given["entity"], given["project"]].artifacts
        types = [one.type for one in known if one.collection == collection]
        return {"project": {"artifact": {"artifactType": {"name": types[-1]}} if types else None}}

    def _on_XXHashDigestsEnabled(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"xxhashDigestsEnabled": False}}

    def _on_CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        asked = given["input"]
        place = (asked["entityName"], asked["projectName"])
        artifacts = self.projects[place].artifacts
        collection = asked["artifactCollectionName"]
        others = [one for one in artifacts if one.collection == collection]
        same = [one for one in others if one.digest == asked["digest"] and one.state == "COMMITTED"]
        if same:
            made = same[-1]
        else:
            aliases = [one["alias"] for one in asked.get("aliases") or []]
            version = f"artifact{sum(len(one.artifacts) for one in self.projects.values())}"
            made = Artifact(
                version, place, asked["runName"], collection, asked["artifactTypeName"], asked["digest"],
                asked.get("metadata") or "{}", aliases, len(others),
            )  # fmt: skip
            artifacts.append(made)
        for one in others:
            if one is not made:
                one.aliases = [alias for alias in one.aliases if alias not in made.aliases]
        latest = {"id": others[-1].id} if others else None
        sequence = {"latestArtifact": latest}
        return {"createArtifact": {"artifact": {"id": made.id, "state": made.state, "artifactSequence": sequence}}}

    def _artifact(self, identity: str) -> Artifact:
        return next(one for project in self.projects.values() for one in project.artifacts if one.id == identity)

    def _on_CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        key = f"manifest/{given['artifactID']}"
        self._artifact(given["artifactID"]).manifest = key
        file = {"id": key, "uploadUrl": self._put(key), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": given["artifactID"], "file": file}}}

    def _on_UpdateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        made = self._on_CreateArtifactManifest({"artifactID": given["artifactManifestID"]})
        return {"updateArtifactManifest": made["createArtifactManifest"]}

    def _on_CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        nodes = []
        for file in given["input"]["artifactFiles"]:
            key = _blob(file["artifactID"], file["md5"])
            node = {"storagePath": key, "uploadUrl": self._put(key), "uploadHeaders": [], "uploadMultipartUrls": None}
            nodes.append({"node": {**node, "artifact": {"id": file["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def _on_CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifact(given["artifactID"])
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    # What the public API reads.

    def _on_Runs(self, given: dict[str, Any]) -> dict[str, Any]:
        place = (given["entity"], given["project"])
        if place not in self.projects:
            return {"project": None}
        runs = list(self.projects[place].runs.values())
        start = int(given["cursor"] or 0)
        shown = list(enumerate(runs))[start : start + min(self.page, given["perPage"])]
        edges = [{"node": self._run(*place, run), "cursor": str(number + 1)} for number, run in shown]
        end = start + len(shown)
        more = {"endCursor": str(end), "hasNextPage": end < len(runs)}
        runs_of = {"edges": edges, "pageInfo": more}
        return {"project": {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": runs_of}}

    def _on_Run(self, given: dict[str, Any]) -> dict[str, Any]:
        place = (given["entity"], given["project"])
        run = self.projects.get(place, Project()).runs.get(given["name"])
        return {"project": {"run": run and self._run(*place, run)} if place in self.projects else None}

    def _on_RunOutputArtifacts(self, given: dict[str, Any]) -> dict[str, Any]:
        project = self.projects[given["entity"], given["project"]]
        found = [one for one in project.artifacts if one.run == given["run"] and one.state == "COMMITTED"]
        edges = [{"node": self._described(one)} for one in found]
        more = {"endCursor": None, "hasNextPage": False}
        return {"project": {"run": {"artifacts": {"totalCount": len(found), "pageInfo": more, "edges": edges}}}}

    def _described(self, artifact: Artifact) -> dict[str, Any]:
        entity, project = artifact.place
        place = {"id": "p", "internalId": "1", "name": project, "entity": {"name": entity}}
        collection = {"__typename": "ArtifactSequence", "name": artifact.collection, "project": place}
        manifest = json.loads(self.storage[artifact.manifest])
        aliases = [
            {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": collection}
            for alias in artifact.aliases
        ]
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": collection,
            "versionIndex": artifact.version,
            "artifactType": {"name": artifact.type},
            "description": None,
            "metadata": artifact.metadata,
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": sum(one["size"] for one in manifest["contents"].values()),
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": None,
            "fileCount": len(manifest["contents"]),
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": aliases,
        }

    def _on_ArtifactByID(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self._described(self._artifact(given["id"]))}

    def _on_GetProjects(self, given: dict[str, Any]) -> dict[str, Any]:
        names = [name for entity, name in self.projects if entity == given["entity"]]
        edges = [{"node": _project(given["entity"], name), "cursor": name} for name in names]
        more = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"edges": edges, "pageInfo": more}}

    # What reports are made of.

    def _on_ProjectViews(self, given: dict[str, Any]) -> dict[str, Any]:
        views = self.projects[given["entity"], given["project"]].views
        edges = [{"node": view, "cursor": view["id"]} for view in views.values()]
        more = {"endCursor": None, "hasNextPage": False}
        return {"project": {"allViews": {"edges": edges, "pageInfo": more}}}

    def _on_ProjectInternalId(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "p", "internalId": "1"}}

    def _on_upsertView(self, given: dict[str, Any]) -> dict[str, Any]:
        views = self.projects[given["entityName"], given["projectName"]].views
        identity = given["id"] or f"view{len(views)}"
        project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
        said = {key: given[key] for key in ("name", "displayName", "description", "type", "spec")}
        times = {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}
        views[identity] = {"id": identity, **said, "project": project, **times, "user": {"username": "ann"}}
        return {"upsertView": {"view": views[identity], "inserted": given["id"] is None}}

    def _on_FetchArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        key = self._artifact(given["id"]).manifest
        return {"artifact": {"currentManifest": {"file": {"directUrl": self._put(key)}}}}


def _project(entity: str, name: str) -> dict[str, Any]:
    return {
        "__typename": "Project",
        "id": "p",
        "internalId": "1",
        "name": name,
        "entityName": entity,
        "createdAt": "2026-01-01T00:00:00Z",
        "isBenchmark": False,
        "user": None,
    }


def _blob(artifact: str, digest: str) -> str:
    return f"blob/{artifact}/{digest}"


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self._body()
            if "k" * 40 not in _decoded(self.headers.get("Authorization", "")):
                self._send(401, b'{"errors": [{"message": "invalid key"}]}')
            elif self.path == "/graphql":
                self._send(200, json.dumps(server.answer(json.loads(body))).encode())
            elif self.path.endswith("/file_stream"):
                server.stream(self.path, json.loads(body))
                self._send(200, b"{}")
            else:
                self._unknown()

        def do_PUT(self) -> None:
            server.storage[unquote(self.path.removeprefix("/storage/"))] = self._body()
            self._send(200, b"")

        def do_GET(self) -> None:
            key = unquote(self.path.removeprefix("/storage/"))
            if self.path.startswith("/artifactsV2/"):
                *_, artifact, digest, _ = self.path.split("/")
                key = _blob(artifact, base64.b64encode(bytes.fromhex(digest)).decode())
            if key in server.storage:
                self._send(200, server.storage[key])
            else:
                self._unknown()

        def _unknown(self) -> None:
            server.unknown.append(f"{self.command} {self.path}")
            self._send(404, b"{}")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _send(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _decoded(authorization: str) -> str:
    return base64.b64decode(authorization.removeprefix("Basic ") or "").decode(errors="replace")
