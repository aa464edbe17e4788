"""The gateway's page for people: plain HTML, CSS and JavaScript that load nothing from elsewhere."""
