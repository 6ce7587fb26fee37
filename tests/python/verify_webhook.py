"""Verifies a delivered webhook with the reference implementation.

usage: verify_webhook.py SECRET < {"headers": {…}, "body": "…"}
"""

import json
import sys

from standardwebhooks.webhooks import Webhook

delivery = json.load(sys.stdin)
payload = Webhook(sys.argv[1]).verify(delivery["body"], delivery["headers"])
print(json.dumps(payload))
