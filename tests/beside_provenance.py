"""Run in the environment beside: open every envelope of a file with a public key, and read the statement in
it as in-toto and SLSA define it; prints a JSON line for each. Raises for what is not as it should be."""

import base64
import json
import sys
from pathlib import Path


def opened(line, key):
    "The statement in an envelope that a key has signed."
    import in_toto_attestation.v1.statement_pb2 as statements
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1.statement import Statement
    from securesystemslib.dsse import Envelope

    envelope = Envelope.from_dict(json.loads(line))
    envelope.verify([key], 1)
    read = json_format.Parse(envelope.payload, statements.Statement())
    Statement.copy_from_pb(read).validate()
    said = json_format.ParseDict(json_format.MessageToDict(read.predicate), provenance_pb2.Provenance())
    used = said.build_definition.resolved_dependencies
    return {
        "type": read.predicate_type,
        "subjects": {one.name: one.digest["sha256"] for one in read.subject},
        "used": [one.name or one.uri for one in used],
        "builder": said.run_details.builder.id,
        "invocation": said.run_details.metadata.invocation_id,
    }


if __name__ == "__main__":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    raw = base64.b64decode(sys.argv[2].removeprefix("ed25519:"))
    public = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw))
    for signed in Path(sys.argv[1]).read_text().splitlines():
        print(json.dumps(opened(signed, public)))
