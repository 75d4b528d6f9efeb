// What an address answers as JSON, or null: the server is away, or the page is being left.

export async function getJson(url) {
  try {
    const answer = await fetch(url);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}
