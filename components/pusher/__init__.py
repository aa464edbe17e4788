"""The Pusher node: a blessed model becomes a version in the serving folder."""
