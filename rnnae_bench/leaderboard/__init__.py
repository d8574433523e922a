"""What is published of many records: submissions, the README's tables, the site, W&B. Only `trackers` imports torch."""
