"""OpenAI's images: generated from a text, or edited when the body brings one. https://platform.openai.com/docs/api-reference/images"""

from llmproxy.provider_workers.compatible_requests import read_fields
from llmproxy.provider_workers.natives.forms import form, has_file
from llmproxy.provider_workers.natives.passing import Passing, aim
from llmproxy.provider_workers.wire import JSON_HEADERS, HttpRequest, Target

PICTURES = ("image", "image[]")


class Images(Passing):
    path = "images/generations"
    edits = "images/edits"
    streams = True

    def request(self, body: bytes, target: Target) -> HttpRequest:
        fields = read_fields(body)
        made = aim(fields, target, body)
        if not any(name in fields and has_file(fields[name]) for name in PICTURES):
            return HttpRequest(method="POST", url=self.url(self.path, target), headers=JSON_HEADERS, body=made)
        kind, made = form(read_fields(made))
        return HttpRequest(
            method="POST", url=self.url(self.edits, target), headers=(("content-type", kind),), body=made
        )
