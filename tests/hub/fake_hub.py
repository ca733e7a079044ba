"""The part of the Hub's HTTP interface that pushing and loading a model goes through, on a local port.

Commits are kept whole in memory. Weights go through the LFS batch interface (basic transfer), everything else inside
the commit, as on the Hub; Xet, which the Hub would prefer, is not spoken here.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # hash to path to content
    branches: dict[str, str] = field(default_factory=dict)  # name to hash

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        content = "".join(f"{name}:{hashlib.sha256(files[name]).hexdigest()}" for name in sorted(files))
        parent = f"{branch} {self.branches.get(branch)} {content}"
        name = hashlib.sha1(parent.encode()).hexdigest()
        self.commits[name], self.branches[branch] = files, name
        return name

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str) -> bool:
    return path.endswith(".safetensors")


class FakeHub:
    """Serves until it is closed.

    Args:
        token: what ``Authorization: Bearer`` must carry to write, and to see private repositories.
    """

    def __init__(self, token: str = "hf_write") -> None:
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail_commits_with: int | None = None
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.cdn = f"http://localhost:{self._server.server_port}"  # another host: no token may go there
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the terminal quiet."""

    def answer(self, status: int, content: object = None, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status: int, code: str = "", message: str = "refused") -> None:
        self.answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    @property
    def authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def route(self) -> None:
        body = self.body()
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        for method, pattern, action in _ROUTES:
            found = re.fullmatch(pattern, path)
            if self.command in method.split() and found is not None:
                writes = self.command in {"POST", "PUT"} and not path.startswith("/lfs/")
                if writes and not self.authorized:
                    self.error(401, message="Invalid username or password.")
                    return
                action(self, body, **found.groupdict())
                return
        self.error(404, message=f"the fake has no {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = route  # noqa: N815 - names of http.server

    def repository(self, repo: str) -> Repository | None:
        found = self.hub.repositories.get(repo)
        if found is None or (found.private and not self.authorized):
            self.error(401 if not self.authorized else 404, "RepoNotFound", "Repository not found")
            return None
        return found

    def revision(self, repo: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.repository(repo)
        if repository is None:
            return None
        commit = repository.resolve(revision)
        if commit is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository, commit

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.repositories:
            self.answer(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{repo}"})
            return
        private = asked.get("private", False) or asked.get("visibility") == "private"
        self.hub.repositories[repo] = Repository(private)
        self.hub.repositories[repo].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.answer(200, {"url": f"{self.hub.url}/{repo}", "name": repo, "id": "1"})

    def create_branch(self, _: bytes, repo: str, branch: str) -> None:
        repository = self.repository(repo)
        if repository is None:
            return
        if branch in repository.branches:
            self.error(409, message="Reference already exists")
            return
        repository.branches[branch] = repository.branches["main"]
        self.answer(200, {})

    def validate_yaml(self, _: bytes) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        if (found := self.revision(repo, revision)) is None:
            return
        files = found[0].commits[found[1]]
        self.answer(
            200,
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if is_lfs(file["path"]) else "regular",
                        "shouldIgnore": False,
                        "oid": self.oid(file["path"], files[file["path"]]) if file["path"] in files else None,
                    }
                    for file in json.loads(body)["files"]
                ]
            },
        )

    @staticmethod
    def oid(path: str, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest() if is_lfs(path) else git_oid(content)

    def lfs_batch(self, body: bytes, repo: str) -> None:
        if self.repository(repo) is None:
            return
        objects = []
        for asked in json.loads(body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.lfs:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}", "header": {}}}
            objects.append(entry)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.error(400, message="content and oid differ")
            return
        self.hub.lfs[oid] = body
        self.answer(200, {})

    def lfs_get(self, _: bytes, oid: str) -> None:
        if "Authorization" in self.headers:
            self.error(400, message="the token was sent to the CDN")
            return
        self.answer(200, self.hub.lfs[oid], {"ETag": f'"{oid}"'})

    def make_commit(self, body: bytes, repo: str, revision: str) -> None:
        if self.hub.fail_commits_with is not None:
            self.error(self.hub.fail_commits_with, message="no luck today")
            return
        if (found := self.revision(repo, revision)) is None:
            return
        repository, parent = found
        files = dict(repository.commits[parent])
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.lfs[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(revision, files)
        self.answer(200, {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{repo}/commit/{commit}"})

    def info(self, _: bytes, repo: str, revision: str | None) -> None:
        if (found := self.revision(repo, revision or "main")) is None:
            return
        repository, commit = found
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        self.answer(200, {"id": repo, "sha": commit, "private": repository.private, "siblings": siblings})

    def tree(self, _: bytes, repo: str, revision: str) -> None:
        if (found := self.revision(repo, revision)) is None:
            return
        repository, commit = found
        entries = []
        for path, content in repository.commits[commit].items():
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
            if is_lfs(path):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            entries.append(entry)
        self.answer(200, entries)

    def resolve(self, _: bytes, repo: str, revision: str, path: str) -> None:
        if (found := self.revision(repo, revision)) is None:
            return
        repository, commit = found
        content = repository.commits[commit].get(path)
        if content is None:
            self.error(404, "EntryNotFound", "Entry not found")
            return
        etag = self.oid(path, content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        if not is_lfs(path):
            self.answer(200, content, headers)
            return
        headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        self.answer(302, b"", {**headers, "Location": f"{self.hub.cdn}/lfs/{etag}"})


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_ROUTES = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", f"/api/models/{_REPO}/branch/(?P<branch>.+)", _Handler.create_branch),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", f"/api/models/{_REPO}/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", f"/{_REPO}.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]+)", _Handler.lfs_put),
    ("GET HEAD", "/lfs/(?P<oid>[0-9a-f]+)", _Handler.lfs_get),
    ("POST", f"/api/models/{_REPO}/commit/(?P<revision>.+)", _Handler.make_commit),
    ("GET", f"/api/models/{_REPO}(/revision/(?P<revision>.+))?", _Handler.info),
    ("GET", f"/api/models/{_REPO}/tree/(?P<revision>[^/]+)/?", _Handler.tree),
    ("GET HEAD", f"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
