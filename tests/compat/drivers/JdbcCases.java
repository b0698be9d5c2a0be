// Cases of the JDBC driver: prints `ok<TAB>name` or `failed<TAB>name<TAB>why` for each.
// Usage: java -cp postgresql.jar JdbcCases.java JDBC-URL USER TENANT, the password in COMPAT_PASSWORD.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicBoolean;
import org.postgresql.PGConnection;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

class JdbcCases {
  static final String BIG = "big";
  static final int BIG_ROWS = 100_000;
  static final String NAME = "Ünï “quoted” \\ ' \" 🐘";
  static final String INSERT = "INSERT INTO compat_values (tenant, id, name) VALUES (?, ?, ?)";

  interface Case {
    void run(Connection connection, String tenant) throws Exception;
  }

  static void check(boolean holds, String what) {
    if (!holds) throw new AssertionError(what);
  }

  static void same(Object got, Object wanted) {
    check(wanted.equals(got), "got " + got + ", wanted " + wanted);
  }

  static int insert(Connection connection, String tenant, int id, String name) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(INSERT)) {
      statement.setString(1, tenant);
      statement.setInt(2, id);
      statement.setString(3, name);
      return statement.executeUpdate();
    }
  }

  static int count(Connection connection, String tenant) throws SQLException {
    try (PreparedStatement statement =
        connection.prepareStatement("SELECT count(*) FROM compat_values WHERE tenant = ?")) {
      statement.setString(1, tenant);
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        return rows.getInt(1);
      }
    }
  }

  interface Read {
    Object from(ResultSet rows) throws SQLException;
  }

  static void roundTrip(Connection connection, String tenant, String column, Object value, Read read, Object wanted)
      throws SQLException {
    try (PreparedStatement statement =
        connection.prepareStatement("INSERT INTO compat_values (tenant, id, " + column + ") VALUES (?, 1, ?)")) {
      statement.setString(1, tenant);
      statement.setObject(2, value);
      statement.executeUpdate();
    }
    try (PreparedStatement statement =
        connection.prepareStatement("SELECT " + column + " FROM compat_values WHERE tenant = ?")) {
      statement.setString(1, tenant);
      // After five times the driver names the statement and asks for binary.
      for (int time = 0; time < 8; time++) {
        try (ResultSet rows = statement.executeQuery()) {
          check(rows.next(), "no row");
          Object got = read.from(rows);
          if (wanted instanceof byte[] bytes) check(Arrays.equals(bytes, (byte[]) got), column + " differs");
          else same(got, wanted);
        }
      }
    }
    try (PreparedStatement statement = connection.prepareStatement("DELETE FROM compat_values WHERE tenant = ?")) {
      statement.setString(1, tenant);
      same(statement.executeUpdate(), 1);
    }
  }

  static void rows(Connection connection, String tenant) throws Exception {
    same(insert(connection, tenant, 1, NAME), 1);
    try (PreparedStatement statement =
        connection.prepareStatement("SELECT name FROM compat_values WHERE tenant = ? AND id = ?")) {
      statement.setString(1, tenant);
      statement.setInt(2, 1);
      ResultSet rows = statement.executeQuery();
      check(rows.next(), "no row");
      same(rows.getString("name"), NAME);
      same(rows.getMetaData().getColumnTypeName(1), "text");
    }
    try (PreparedStatement batch = connection.prepareStatement(INSERT)) {
      for (int id = 2; id < 300; id++) {
        batch.setString(1, tenant);
        batch.setInt(2, id);
        batch.setString(3, "n" + id);
        batch.addBatch();
      }
      same(batch.executeBatch().length, 298);
    }
    same(count(connection, tenant), 299);
    try (Statement statement = connection.createStatement()) {
      same(statement.executeUpdate("DELETE FROM compat_values WHERE tenant = '" + tenant + "'"), 299);
    }
  }

  static void commits(Connection connection, String tenant) throws Exception {
    connection.setAutoCommit(false);
    connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
    insert(connection, tenant, 1, "a");
    insert(connection, tenant, 2, "b");
    connection.commit();
    same(count(connection, tenant), 2);
    connection.rollback();
  }

  static void rollsBack(Connection connection, String tenant) throws Exception {
    connection.setAutoCommit(false);
    insert(connection, tenant, 1, "a");
    connection.rollback();
    same(count(connection, tenant), 0);
  }

  static void savepoint(Connection connection, String tenant) throws Exception {
    connection.setAutoCommit(false);
    insert(connection, tenant, 1, "a");
    Savepoint one = connection.setSavepoint("one");
    try {
      insert(connection, tenant, 1, "again");
      throw new AssertionError("a duplicate was taken");
    } catch (SQLException error) {
      same(error.getSQLState(), "23505");
    }
    connection.rollback(one);
    insert(connection, tenant, 2, "b");
    connection.commit();
    same(count(connection, tenant), 2);
  }

  static void prepared(Connection connection, String tenant) throws Exception {
    insert(connection, tenant, 1, "a");
    try (PreparedStatement statement =
        connection.prepareStatement("SELECT name, id FROM compat_values WHERE tenant = ? AND id = ?")) {
      for (int time = 0; time < 20; time++) {
        statement.setString(1, tenant);
        statement.setInt(2, 1);
        try (ResultSet rows = statement.executeQuery()) {
          check(rows.next(), "no row");
          same(rows.getString(1), "a");
        }
      }
      check(statement.unwrap(org.postgresql.PGStatement.class).isUseServerPrepare(), "never prepared");
      same(statement.getParameterMetaData().getParameterTypeName(2), "int4");
    }
  }

  static void arrays(Connection connection, String tenant) throws Exception {
    String[] tags = {"a", "b c", "d,e", "\"f\"", "\\g", "", "NULL", null};
    Array array = connection.createArrayOf("text", tags);
    roundTrip(connection, tenant, "tags", array, rows -> Arrays.asList((String[]) rows.getArray(1).getArray()), Arrays.asList(tags));
    Integer[] numbers = {1, -2, 2147483647};
    Array ints = connection.createArrayOf("int4", numbers);
    roundTrip(connection, tenant, "numbers", ints, rows -> Arrays.asList((Integer[]) rows.getArray(1).getArray()), Arrays.asList(numbers));
  }

  static void json(Connection connection, String tenant) throws Exception {
    PGobject doc = new PGobject();
    doc.setType("jsonb");
    doc.setValue("{\"a\": [1, 2.50, null], \"ü\": \"\\\"q\\\"\"}");
    roundTrip(connection, tenant, "doc", doc, rows -> rows.getString(1), doc.getValue());
    PGobject raw = new PGobject();
    raw.setType("json");
    raw.setValue("{ \"b\" :1 }");
    roundTrip(connection, tenant, "raw", raw, rows -> rows.getString(1), raw.getValue());
  }

  static void bytea(Connection connection, String tenant) throws Exception {
    byte[] small = {0, 1, 92, 39, 127, -128, -1};
    roundTrip(connection, tenant, "payload", small, rows -> rows.getBytes(1), small);
    byte[] large = new byte[2_000_000];
    Arrays.fill(large, (byte) 200);
    roundTrip(connection, tenant, "payload", large, rows -> rows.getBytes(1), large);
  }

  static void dates(Connection connection, String tenant) throws Exception {
    OffsetDateTime moment = OffsetDateTime.of(2024, 2, 29, 12, 34, 56, 789_123_000, ZoneOffset.UTC);
    roundTrip(connection, tenant, "made", moment, rows -> rows.getObject(1, OffsetDateTime.class).withOffsetSameInstant(ZoneOffset.UTC), moment);
    LocalDate day = LocalDate.of(2024, 2, 29);
    roundTrip(connection, tenant, "day", day, rows -> rows.getObject(1, LocalDate.class), day);
    LocalDateTime plain = LocalDateTime.of(1999, 12, 31, 23, 59, 59);
    roundTrip(connection, tenant, "plain", plain, rows -> rows.getObject(1, LocalDateTime.class), plain);
  }

  static void numeric(Connection connection, String tenant) throws Exception {
    BigDecimal price = new BigDecimal("12345678901234.5600");
    roundTrip(connection, tenant, "price", price, rows -> rows.getBigDecimal(1), price);
    roundTrip(connection, tenant, "large", 9007199254740993L, rows -> rows.getLong(1), 9007199254740993L);
    roundTrip(connection, tenant, "ratio", 0.1, rows -> rows.getDouble(1), 0.1);
    roundTrip(connection, tenant, "flag", true, rows -> rows.getBoolean(1), true);
    UUID uid = UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    roundTrip(connection, tenant, "uid", uid, rows -> rows.getObject(1, UUID.class), uid);
  }

  static void bigResult(Connection connection, String tenant) throws Exception {
    try (PreparedStatement statement = connection.prepareStatement("SELECT n, body FROM compat_big WHERE tenant = ?")) {
      statement.setString(1, BIG);
      ResultSet rows = statement.executeQuery();
      long seen = 0;
      long sum = 0;
      while (rows.next()) {
        seen++;
        sum += rows.getInt(1);
      }
      same(seen, (long) BIG_ROWS);
      same(sum, (long) BIG_ROWS * (BIG_ROWS + 1) / 2);
    }
  }

  static void parts(Connection connection, String tenant) throws Exception {
    connection.setAutoCommit(false);
    try (PreparedStatement statement =
        connection.prepareStatement("SELECT n FROM compat_big WHERE tenant = ? ORDER BY n")) {
      statement.setString(1, BIG);
      statement.setFetchSize(100);
      ResultSet rows = statement.executeQuery();
      for (int seen = 1; seen <= 2000; seen++) {
        check(rows.next(), "no row");
        same(rows.getInt(1), seen);
      }
    }
    connection.commit();
    same(count(connection, tenant), 0);
    connection.commit();
  }

  static void copyIn(Connection connection, String tenant) throws Exception {
    StringBuilder lines = new StringBuilder();
    for (int id = 0; id < 5000; id++) lines.append(tenant).append('\t').append(id).append("\tname\n");
    long copied =
        connection
            .unwrap(PGConnection.class)
            .getCopyAPI()
            .copyIn("COPY compat_values (tenant, id, name) FROM STDIN", new StringReader(lines.toString()));
    same(copied, 5000L);
    same(count(connection, tenant), 5000);
  }

  static void copyOut(Connection connection, String tenant) throws Exception {
    StringWriter target = new StringWriter();
    String text = "COPY (SELECT n FROM compat_big WHERE tenant = '" + BIG + "' ORDER BY n) TO STDOUT";
    same(connection.unwrap(PGConnection.class).getCopyAPI().copyOut(text, target), (long) BIG_ROWS);
    same(target.toString().split("\n")[9], "10");
  }

  static void errors(Connection connection, String tenant) throws Exception {
    insert(connection, tenant, 1, "a");
    try {
      insert(connection, tenant, 1, "a");
      throw new AssertionError("a duplicate was taken");
    } catch (PSQLException error) {
      ServerErrorMessage fields = error.getServerErrorMessage();
      same(error.getSQLState(), "23505");
      same(fields.getSeverity(), "ERROR");
      same(fields.getTable(), "compat_values");
      same(fields.getConstraint(), "compat_values_pkey");
      check(fields.getDetail().contains(tenant), "no detail");
    }
    try (Statement statement = connection.createStatement()) {
      statement.executeQuery("SELECT nam FROM compat_values WHERE tenant = '" + tenant + "'");
      throw new AssertionError("an unknown column was found");
    } catch (PSQLException error) {
      same(error.getSQLState(), "42703");
      same(error.getServerErrorMessage().getPosition(), 8);
    }
    same(count(connection, tenant), 1);
  }

  static void catalog(Connection connection, String tenant) throws Exception {
    StringBuilder columns = new StringBuilder();
    try (ResultSet rows = connection.getMetaData().getColumns(null, "public", "compat_big", "%")) {
      while (rows.next()) columns.append(rows.getString("COLUMN_NAME")).append(' ').append(rows.getString("TYPE_NAME")).append(';');
    }
    same(columns.toString(), "tenant text;n int4;body text;");
    TreeSet<String> keys = new TreeSet<>();
    try (ResultSet rows = connection.getMetaData().getPrimaryKeys(null, "public", "compat_big")) {
      while (rows.next()) keys.add(rows.getString("COLUMN_NAME"));
    }
    same(keys.toString(), "[n, tenant]");
    same(connection.getMetaData().getDatabaseProductName(), "PostgreSQL");
  }

  static void cancels(Connection connection, String tenant) throws Exception {
    AtomicBoolean ended = new AtomicBoolean();
    try (Statement statement = connection.createStatement()) {
      Thread thread =
          new Thread(
              () -> {
                while (!ended.get()) {
                  try {
                    Thread.sleep(200);
                    if (!ended.get()) statement.cancel();
                  } catch (InterruptedException | SQLException error) {
                    return;
                  }
                }
              });
      thread.start();
      try {
        statement.executeQuery("SELECT pg_sleep(60)");
        throw new AssertionError("the statement was not cancelled");
      } catch (SQLException error) {
        same(error.getSQLState(), "57014");
      } finally {
        ended.set(true);
        thread.join();
      }
    }
    same(count(connection, tenant), 0);
  }

  public static void main(String[] words) throws Exception {
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("reads and writes rows", JdbcCases::rows);
    cases.put("commits", JdbcCases::commits);
    cases.put("rolls back", JdbcCases::rollsBack);
    cases.put("rolls back to a savepoint", JdbcCases::savepoint);
    cases.put("uses prepared statements again", JdbcCases::prepared);
    cases.put("arrays", JdbcCases::arrays);
    cases.put("json and jsonb", JdbcCases::json);
    cases.put("bytea", JdbcCases::bytea);
    cases.put("dates and timestamps", JdbcCases::dates);
    cases.put("numeric and int8", JdbcCases::numeric);
    cases.put("a result of 100,000 rows", JdbcCases::bigResult);
    cases.put("rows in parts", JdbcCases::parts);
    cases.put("copy in", JdbcCases::copyIn);
    cases.put("copy out", JdbcCases::copyOut);
    cases.put("errors with their fields", JdbcCases::errors);
    cases.put("asks the catalog", JdbcCases::catalog);
    cases.put("cancels", JdbcCases::cancels);
    Properties login = new Properties();
    login.setProperty("user", words[1]);
    login.setProperty("password", System.getenv("COMPAT_PASSWORD"));
    for (Map.Entry<String, Case> each : cases.entrySet()) {
      try (Connection connection = DriverManager.getConnection(words[0], login)) {
        each.getValue().run(connection, words[2] + " " + each.getKey());
        System.out.println("ok\t" + each.getKey());
      } catch (Throwable error) {
        String why = String.valueOf(error).replace('\n', '|').replace('\t', ' ');
        System.out.println("failed\t" + each.getKey() + "\t" + why);
      }
    }
  }
}
