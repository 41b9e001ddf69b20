use super::*;

fn store() -> (tempfile::TempDir, Objects) {
    let directory = tempfile::tempdir().unwrap();
    let objects = Objects::directory(&directory.path().join("artifacts"));
    objects.prepare().unwrap();
    (directory, objects)
}

#[tokio::test]
async fn what_is_put_is_read_and_deleted_by_its_directory() {
    let (directory, objects) = store();
    objects.put("a/steps/s/one.md", b"one").await.unwrap();
    objects.put("ab/two", b"two").await.unwrap();
    let large = directory.path().join("large");
    std::fs::write(&large, vec![7; 20 * 1024 * 1024]).unwrap();
    objects
        .put_file("a/large", std::fs::File::open(&large).unwrap())
        .await
        .unwrap();
    assert_eq!(
        objects.read("a/steps/s/one.md", 10).await.unwrap().unwrap(),
        b"one"
    );
    assert_eq!(
        objects.open("a/large", None).await.unwrap().unwrap().size,
        20 * 1024 * 1024
    );
    let part = objects.open("a/large", Some(5..9)).await.unwrap().unwrap();
    assert_eq!(part.bytes.try_collect::<Vec<_>>().await.unwrap().concat(), [7; 4]);
    assert!(objects.read("a/large", 10).await.is_err());
    assert!(objects.read("a/none", 10).await.unwrap().is_none());
    objects.delete_all("a").await.unwrap();
    assert!(objects.open("a/large", None).await.unwrap().is_none());
    assert_eq!(objects.read("ab/two", 10).await.unwrap().unwrap(), b"two");
    assert!(!directory.path().join("artifacts/a").exists());
    objects.delete_all("a").await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_is_an_error_and_leaves_what_was_there() {
    let (directory, objects) = store();
    let in_the_way = directory.path().join("artifacts/a");
    std::fs::write(&in_the_way, "in the way").unwrap();
    let large = vec![7; PART + 1];
    for bytes in [&b"short"[..], &large] {
        assert!(objects.put("a/b", bytes).await.is_err());
        let file = directory.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        let file = std::fs::File::open(&file).unwrap();
        assert!(objects.put_file("a/b", file).await.is_err());
        let here = objects.put("c", bytes).await.unwrap();
        assert_eq!(here.size, bytes.len() as u64);
        assert!(objects.copy("c", "a/b").await.is_err());
    }
    assert_eq!(std::fs::read_to_string(&in_the_way).unwrap(), "in the way");
    std::fs::remove_file(&in_the_way).unwrap();
    objects.put("a/b", b"short").await.unwrap();
}

#[tokio::test]
async fn no_key_and_no_link_leads_out() {
    let (directory, objects) = store();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    let root = directory.path().join("artifacts");
    std::os::unix::fs::symlink(&secret, root.join("link")).unwrap();
    std::os::unix::fs::symlink(directory.path(), root.join("up")).unwrap();
    for key in [
        "link",
        "up/secret",
        "../secret",
        "a/../../secret",
        "/etc/passwd",
        "a//b",
        ".",
        "",
    ] {
        let read = objects.read(key, 100).await;
        assert!(!matches!(read, Ok(Some(_))), "{key}");
    }
}

#[tokio::test]
async fn who_lost_the_place_puts_nothing_there_and_deletes_nothing() {
    let (directory, objects) = store();
    objects.put("a", b"another's").await.unwrap();
    objects.put("from", b"ours").await.unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "ours").unwrap();
    let holds = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let asked = Arc::clone(&holds);
    let ours = objects.held(move || asked.load(std::sync::atomic::Ordering::Relaxed));
    let large = vec![7; PART + 1];
    let mut begun = Vec::new();
    for bytes in [&b"ours"[..], &large] {
        let mut writer = ours.create("a").unwrap();
        writer.write(bytes).await.unwrap();
        begun.push(writer);
    }
    holds.store(false, std::sync::atomic::Ordering::Relaxed);
    for writer in begun {
        let error = writer.finish().await.unwrap_err();
        assert!(error.to_string().contains("the lease is over"), "{error}");
    }
    assert!(ours.put("a", b"ours").await.is_err());
    assert!(ours.copy("from", "a").await.is_err());
    let file = std::fs::File::open(&file).unwrap();
    assert!(ours.put_file("a", file).await.is_err());
    assert!(ours.delete("a").await.is_err());
    assert_eq!(objects.read("a", 100).await.unwrap().unwrap(), b"another's");
    let left = std::fs::read_dir(directory.path().join("artifacts")).unwrap();
    assert_eq!(left.count(), 2, "nothing half done is left");
}
