"""What people look at: tables, pictures and pages made from records. Nothing here imports torch."""
