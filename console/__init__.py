"""The web application and JSON API for fab engineers, over the database and the log."""
