"""`keys rotate|backup`: by the owner of the state directory, so that a running unit need not stop."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from agent import keys, sm
from agent.catalogue import AgentError
from agent.control.powers import Powers
from agent.control.protocol import Caller, Handler
from agent.ops.glance import BACKED_UP
from agent.outbox import sealing
from agent.outbox.sealing import KeyEncryptionKey
from agent.recall import recalled_facts


def verbs(powers: Powers) -> dict[str, Handler]:
    """Return the verbs of this file."""
    return {
        "keys.state": lambda _args, _caller: state(powers),
        "keys.rotate": lambda _args, caller: _rotate(powers, caller),
        "keys.replace": lambda _args, caller: _replace(powers, caller),
        "keys.backup": lambda args, caller: _backup(powers, args, caller),
        "keys.backed_up": lambda args, caller: _backed_up(powers, args, caller),
    }


def state(powers: Powers) -> dict[str, Any]:
    """Return what can be said of the keys without showing one."""
    own = powers.own
    backup = recalled_facts(own.outbox.setting(BACKED_UP)) or {}
    kek = own.outbox.administration.kek_id
    return {
        "kek": kek,
        "backed_up": backup.get("kek") == kek,
        "backed_up_at": backup.get("at"),
        "own_files": keys.beside_the_data(own.config),
        "lost_epochs": own.outbox.administration.lost_keys,
        "gcm": sm.has_gcm(),
    }


def _rotate(powers: Powers, caller: Caller) -> dict[str, Any]:
    epoch = powers.own.outbox.administration.rotate()
    powers.own.audit.append("keys.rotated", who=caller.name, target="epoch", epoch=str(epoch), durable=True)
    return {"epoch": epoch}


def _replace(powers: Powers, caller: Caller) -> dict[str, Any]:
    """Replace the key-encryption key where it is a file of our own; E7304 says how it is done elsewhere."""
    own = powers.own
    if own.config.keys.seal is not None:
        secret = own.config.keys.seal
        raise AgentError("E7304", name=secret.credential or secret.file or "")
    path = keys.own_key(own.config, "seal")
    following = keys.next_to(path)
    if not following.exists():
        keys.write_key(following, keys.written(os.urandom(keys.KEY_BYTES)))
    # A power cut from here on is met by the next start, which finds the key beside the old one.
    fresh = keys.load(own.config).seal_next
    if fresh is None:
        raise AgentError("E7201", key="keys.seal", path=following, reason="")
    kek = own.outbox.administration.rewrap(fresh)
    keys.promote_own(own.config)
    own.audit.append("keys.rotated", who=caller.name, target="seal", key=kek, durable=True)
    return {"kek": kek}


def _backup(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Return the three keys sealed under the passphrase's key.

    The sealing key in force, and no other: one that was put beside it opens nothing before a restart.
    AgentError E7301 where the file has been exchanged since.
    """
    keyring = keys.load(powers.own.config)
    kek = powers.own.outbox.administration.kek_id
    there = {KeyEncryptionKey.derived(one).id: one for one in (keyring.seal, keyring.seal_next) if one}
    if kek not in there:
        raise AgentError("E7301", epoch="-", expected=kek, received=",".join(there))
    content = {
        "seal": there[kek].hex(),
        "audit": keyring.audit.hex(),
        "pseudonym": keyring.pseudonym.hex(),
    }
    key = sealing.Key(bytes.fromhex(str(args["key"])), 0)
    piece = sealing.seal(key, json.dumps(content).encode(), str(args["label"]))
    # Whoever asks has them now, whether a file comes of it or not.
    powers.own.audit.append("keys.handed_out", who=caller.name, target="keys", key=kek, durable=True)
    return {"piece": base64.b64encode(piece).decode("ascii"), "kek": kek}


def _backed_up(powers: Powers, args: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    own = powers.own
    stamp = {"kek": str(args["kek"]), "at": own.clock.now().isoformat()}
    own.outbox.set_setting(BACKED_UP, json.dumps(stamp))
    own.audit.append("keys.backed_up", who=caller.name, target="keys", key=stamp["kek"], durable=True)
    return state(powers)
